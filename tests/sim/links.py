"""The links of one process as its engine sees them: what stands for `raft.transport.Mesh`.

Not here: what becomes of a frame, and how a link comes and goes (`network.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rbcluster.core.ids import NodeId
from rbcluster.raft import codec
from rbcluster.raft.frames import FrameKind
from rbcluster.raft.settings import Address, RaftSettings
from rbcluster.raft.transport import MeshListener

Way = tuple[NodeId, NodeId]
"""From one node to another."""


@dataclass(slots=True, eq=False)
class Connection:
    """One TCP connection, from its establishment to its end."""

    dialler: NodeId
    is_broken: bool = False  # nothing more is sent over it
    lost: set[Way] = field(default_factory=set)  # a frame is missing: none after it arrives
    free_at: dict[Way, float] = field(default_factory=dict)  # no frame overtakes the one before
    waiting: dict[Way, list[Frame]] = field(default_factory=dict)  # before a cut
    known_at: set[NodeId] = field(default_factory=set)  # at these ends it came up
    early: list[Frame] = field(default_factory=list)  # arrived before it came up
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # the dialling end knows of its end

    def end(self, node: NodeId) -> None:
        """Let one end know."""
        if node == self.dialler:
            self.ended.set()


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on its way."""

    way: Way
    connection: Connection
    kind: FrameKind
    payload: object  # as it was sent: to look at
    data: bytes  # what is carried


class Carrier(Protocol):
    """What carries frames, and brings links up and down."""

    def open(self, mesh: SimMesh) -> None:
        """Let a process listen, and dial those that it is to dial."""

    def close(self, mesh: SimMesh, *, silently: bool = False) -> None:
        """End a process's connections; unless it dies `silently`, its kernel tells the peers."""

    def redial(self, mesh: SimMesh) -> None:
        """Dial whom a process is to dial now, and nobody else any more."""

    def cut_off(self, mesh: SimMesh, peer: NodeId) -> None:
        """End the link with a peer that is not welcome any more."""

    def transmit(self, frame: Frame) -> None:
        """Take a frame from a process."""


class SimMesh:
    """The links of one process, in the engine's eyes (`raft.transport.Links`)."""

    def __init__(self, network: Carrier, settings: RaftSettings, listener: MeshListener) -> None:
        self.network = network
        self.settings = settings
        self.listener = listener
        self.node = settings.node
        self.links: dict[NodeId, Connection] = {}
        self.down_at: dict[NodeId, float] = {}
        self.is_open = False
        self.is_dying = False  # not another frame leaves it
        self.dialled: Mapping[NodeId, Address] = {}
        self.welcome: frozenset[NodeId] = frozenset()
        self.dialling: dict[NodeId, asyncio.Task[None]] = {}

    @property
    def connected(self) -> frozenset[NodeId]:
        return frozenset(self.links)

    async def start(self) -> None:
        self.network.open(self)

    async def stop(self) -> None:
        self.network.close(self)

    def abort(self) -> None:
        self.network.close(self)

    def set_peers(self, dialled: Mapping[NodeId, Address], welcome: frozenset[NodeId]) -> None:
        self.dialled, self.welcome = dialled, welcome
        if not self.is_open:
            return
        self.network.redial(self)
        for peer in tuple(self.links):
            if peer not in welcome:
                self.network.cut_off(self, peer)

    def reload_certificate(self) -> None:
        raise AssertionError("links here have no certificates")

    def send(self, peer: NodeId, kind: FrameKind, payload: object) -> bool:
        connection = self.links.get(peer)
        if connection is None:
            return False
        if self.is_dying:
            return True
        data = payload if isinstance(payload, bytes) else codec.dumps(payload)
        self.network.transmit(Frame((self.node, peer), connection, kind, payload, data))
        return True
