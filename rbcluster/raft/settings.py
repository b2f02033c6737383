"""What a node must be told before its engine can start, as one value.

Not here: reading cluster.toml (`config.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.endpoint import HostPort
from rbcluster.raft.disk import POSIX_DISK, Disk
from rbcluster.raft.profile import LAN, RaftProfile
from rbcluster.raft.storage import StoragePlace
from rbcluster.raft.tls import TlsFiles

Address = tuple[str, int]
"""Host name or IP address, and TCP port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """How a cluster comes to be whose members may change: by one node alone, which lets others in.

    It founds only while a majority of those that were named as voters is up and was founded by
    nobody: so it can't found a second cluster after it has lost its disk.
    """

    voters: frozenset[NodeId]  # named as voters, the founder among them
    founder: NodeId | None  # None: this node, who would be it, had a storage before


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftSettings:
    """One node's part in the cluster, as it is told at its first start.

    Without `founding`, those are the voters once and for all: tests and benchmarks need no more.

    :raises ValueError: if the parts contradict each other.
    """

    cluster: ClusterId
    node: NodeId
    listen: Address
    peers: Mapping[NodeId, Address]  # the other voters
    data_dir: Path  # of the engine alone; made if it is missing
    tls: TlsFiles
    profile: RaftProfile = LAN
    via: HostPort | None = None  # a SOCKS 5 proxy through which every peer is dialled
    learner: bool = False  # this node follows without a vote
    sync: bool = True  # wait for the disk; without it a power loss may undo what was acknowledged
    disk: Disk = POSIX_DISK  # another one is for tests
    draw: Callable[[int], bytes] = os.urandom  # and so is another source of incarnations
    learners: Mapping[NodeId, Address] = field(default_factory=dict)  # the other ones
    founding: Founding | None = None  # the voters are what the log says

    def __post_init__(self) -> None:
        if self.node in self.peers:
            raise ValueError(f"{self.node} is listed among its own peers")
        if self.learners.keys() & {self.node, *self.peers}:
            raise ValueError("a node is listed both as voter and as learner")
        if self.learner and not self.peers:
            raise ValueError(f"learner {self.node} has no voter to follow")

    @property
    def storage(self) -> StoragePlace:
        """Where this node's storage is, and whose it must be."""
        return StoragePlace(
            directory=self.data_dir,
            cluster=self.cluster,
            node=self.node,
            sync=self.sync,
            disk=self.disk,
            draw=self.draw,
        )

    @property
    def told(self) -> Mapping[NodeId, Address]:
        """Where all other nodes are reached."""
        return {**self.learners, **self.peers}

    @property
    def static_voters(self) -> frozenset[NodeId]:
        """Who votes where no log says so: nobody in a cluster that is founded."""
        if self.founding is not None:
            return frozenset()
        return frozenset(self.peers) | (frozenset() if self.learner else {self.node})
