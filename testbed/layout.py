"""A Raft cluster on loopback, laid out: certificates, addresses, data directories."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.raft.profile import LAN, RaftProfile
from rbcluster.raft.settings import Address, RaftSettings
from testbed.certificates import tls_files

CLUSTER = ClusterId(b"one test cluster")

LIMIT_S = 20.0  # five times and more of what anything in such a cluster takes


def free_addresses(num: int) -> list[Address]:
    """Ask the kernel for free ports of a loopback address of our own.

    On 127.0.0.1 another process could connect from a port before we listen on it.
    """
    host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname() for each in sockets]


def make_settings(
    directory: Path,
    names: Iterable[str],
    *,
    learners: Iterable[str] = (),
    profile: RaftProfile = LAN,
) -> dict[NodeId, RaftSettings]:
    """Lay out a cluster: certificates, addresses, data directories."""
    voters, followers = [NodeId(n) for n in names], [NodeId(n) for n in learners]
    tls = tls_files(directory / "tls", [*voters, *followers])
    addresses = dict(zip([*voters, *followers], free_addresses(len(tls)), strict=True))
    return {
        node: RaftSettings(
            cluster=CLUSTER,
            node=node,
            listen=addresses[node],
            peers={voter: addresses[voter] for voter in voters if voter != node},
            data_dir=directory / "data" / node.name,
            tls=tls[node],
            profile=profile,
            learner=node in followers,
            learners=frozenset(followers) - {node},
        )
        for node in addresses
    }
