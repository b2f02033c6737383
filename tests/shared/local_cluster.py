"""Engines of one process, over real TLS on loopback."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.raft.engine import Admit, RaftEngine, admit_all
from rbcluster.raft.machine import StateMachine
from rbcluster.raft.profile import LAN, RaftProfile
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.raft.settings import Address, RaftSettings
from rbcluster.raft.view import Role
from tests.shared.certificates import tls_files
from tests.shared.ledger import LEDGER, Ledger

Engine = RaftEngine[Ledger, int]

CLUSTER = ClusterId(b"one test cluster")

LIMIT_S = 20.0  # five times and more of what anything here takes

PATIENT = replace(
    LAN,
    election_min_s=2 * LIMIT_S,
    election_max_s=3 * LIMIT_S,
    leader_fallback_s=1.9 * LIMIT_S,
    forget_leader_s=3 * LIMIT_S,
    link_timeout_s=2 * LIMIT_S,
    connect_timeout_s=2 * LIMIT_S,
    greet_timeout_s=2 * LIMIT_S,
)
"""A busy machine stalls a process for longer than LAN's time-outs. So nobody stands for election
unless the test says so (`LocalCluster.elect`), and no link ends by itself."""


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
            learners={other: addresses[other] for other in followers if other != node},
        )
        for node in addresses
    }


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; looks every 5 ms."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - any condition, on any engine
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT_S} s: {what}") from None


class LocalCluster:
    """Some engines, each of which can be stopped and started again."""

    def __init__(self, settings: Mapping[NodeId, RaftSettings]) -> None:
        self.settings = dict(settings)
        self.engines: dict[NodeId, Engine] = {}
        self.messages: list[tuple[NodeId, NodeId, bytes]] = []  # to, from, payload
        self.machines: dict[NodeId, StateMachine[Any, Any]] = {}  # where it is not the ledger
        self.admit: Admit = admit_all  # read at every call: a test may change it

    async def start(self, node: NodeId) -> Engine:
        """Start a node with what it has on disk."""
        engine: Engine = RaftEngine(
            self.settings[node],
            self.machines.get(node, LEDGER),
            admit=self._admit,
            on_message=lambda sender, payload: self.messages.append((node, sender, payload)),
        )
        await engine.start()
        self.engines[node] = engine
        return engine

    def _admit(self, sender: NodeId, command: bytes) -> str | None:
        return self.admit(sender, command)

    async def stop(self, node: NodeId) -> None:
        """Stop a node."""
        await self.engines.pop(node).stop()

    async def elect(self, node: NodeId) -> Engine:
        """Let a node stand as soon as all are linked, and wait until it leads."""
        engine = self.engines[node]
        await eventually(self._is_meshed, "all links are up")
        assert engine._replica is not None
        engine._replica._SyncObj__raftElectionDeadline = 0
        engine._wake()
        leader = await self.leader()
        assert leader is engine
        return engine

    def _is_meshed(self) -> bool:
        """Tell whether every voter has a link to every other running node, learners included."""
        return all(
            self.engines.keys() - {node} <= engine.view.connected
            for node, engine in self.engines.items()
            if engine.view.role is not Role.LEARNER
        )

    async def leader(self) -> Engine:
        """Wait until all running nodes agree on a leader with a quorum; return it."""
        await eventually(lambda: self._leader() is not None, "all agree on a leader")
        leader = self._leader()
        assert leader is not None
        return leader

    def _leader(self) -> Engine | None:
        views = [engine.view for engine in self.engines.values()]
        told = {view.leader for view in views}
        node = told.pop()
        if told or node is None or len({view.term for view in views}) > 1:
            return None
        engine = self.engines.get(node)
        if engine is None or engine.view.role is not Role.LEADER or not engine.view.has_quorum:
            return None
        return engine

    async def followers(self) -> list[Engine]:
        """Return all running nodes but the leader."""
        leader = await self.leader()
        return [engine for engine in self.engines.values() if engine is not leader]

    async def agree(self, *expected: bytes) -> None:
        """Wait until every running node has applied these commands, in some one order."""
        await eventually(
            lambda: (
                all(sorted(e.state) == sorted(expected) for e in self.engines.values())
                and len({e.state for e in self.engines.values()}) == 1
            ),
            f"all have {expected}",
        )


@asynccontextmanager
async def running(cluster: LocalCluster) -> AsyncIterator[LocalCluster]:
    """Start all nodes, and stop at the end what still runs."""
    try:
        await asyncio.gather(*(cluster.start(node) for node in cluster.settings))
        yield cluster
    finally:
        await asyncio.gather(*(cluster.stop(node) for node in tuple(cluster.engines)))


async def commit(engine: Engine, command: bytes) -> ProposalResult[int]:
    """Propose once and insist on the commit."""
    result = await engine.propose(command, LIMIT_S)
    assert result.outcome is Outcome.COMMITTED, result
    return result


def compacting(entries: int) -> RaftProfile:
    """Take a profile that makes snapshots early."""
    return replace(PATIENT, compact_entries=entries)
