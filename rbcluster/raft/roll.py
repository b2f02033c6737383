"""Who is who, as this node knows it: whom to link with, and what each linked peer counts as.

Three sources, the last of which that speaks of a node is right: what the node was told at its first
start (`RaftSettings`), the members in the replicated state, and the voters in the log, which may be
newer. A fourth serves links alone: what a peer says of the voters (`Hint`). A node that was away
while all changed would know nobody any more who could tell it; it counts no vote by a hint.

::

    Standing      messages it may send                          counts for
    VOTER         all                                           quorums
    NEWER         all; a voter in a configuration not here yet  nothing yet
    LEARNER       a learner's                                   nothing
    STRANGER      none: a voter's name, another storage         nothing

Overview::

    Standing, Hint
    Roll          standing(peer, incarnation), addresses, welcome, diallable
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.core.state import Member
from rbcluster.endpoint import HostPort
from rbcluster.raft.configuration import Configuration
from rbcluster.raft.frames import FrameError
from rbcluster.raft.limits import MAX_LOG_INDEX
from rbcluster.raft.settings import Address

_MAX_VOTERS_TOLD = 16  # more than any cluster has


class Standing(Enum):
    """What a linked peer counts as; the module's docstring says what follows."""

    VOTER = "voter"
    NEWER = "newer"
    LEARNER = "learner"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Hint:
    """What a peer's log says of the voters, for links alone."""

    index: int  # in the log, as of which it is so; 0: nothing says so
    voters: Configuration
    addresses: Mapping[NodeId, Address]

    def to_wire(self) -> tuple[object, ...]:
        """Return the payload of a VOTERS frame."""
        return self.index, tuple(
            (node.name, None if drawn is None else drawn.raw, *self.addresses.get(node, ("", 0)))
            for node, drawn in sorted(self.voters.items())
        )

    @classmethod
    def from_wire(cls, payload: object) -> Hint:
        """Read the payload of a VOTERS frame.

        :raises FrameError: if it is malformed.
        """
        voters: dict[NodeId, Incarnation | None] = {}
        addresses: dict[NodeId, Address] = {}
        try:
            match payload:
                case (int(index), tuple(wire)) if (
                    0 <= index <= MAX_LOG_INDEX and len(wire) <= _MAX_VOTERS_TOLD
                ):
                    pass
                case _:
                    raise ValueError("it has another form")
            for entry in wire:
                name, drawn, host, port = entry
                node = NodeId(name)
                voters[node] = None if drawn is None else Incarnation(drawn)
                if type(host) is not str or type(port) is not int:
                    raise ValueError("an address has another form")
                if host:
                    found = HostPort.parse(str(HostPort(host, port)))
                    addresses[node] = (found.host, found.port)
        except (TypeError, ValueError, AttributeError) as error:
            raise FrameError(f"what it says of the voters is malformed: {error}") from error
        return cls(index, voters, addresses)


NOTHING = Hint(0, MappingProxyType({}), MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """All that one node knows of the others at one moment."""

    node: NodeId
    votes: bool  # this node does
    configuration: Configuration
    configured_at: int  # index in the log as of which it is so; 0: nothing says so
    told: Mapping[NodeId, Address]  # at the first start
    members: Mapping[NodeId, Member] = field(default_factory=lambda: MappingProxyType({}))
    hint: Hint = NOTHING  # until the state has come to where it was given

    def standing(self, peer: NodeId, incarnation: Incarnation) -> Standing:
        """Say what a peer with this storage counts as."""
        if peer in self.configuration and self.configuration[peer] in (None, incarnation):
            return Standing.VOTER
        newer = self._newer_voters()
        if peer in newer and newer[peer] in (None, incarnation):
            return Standing.NEWER
        return Standing.STRANGER if peer in self.configuration else Standing.LEARNER

    def _newer_voters(self) -> Configuration:
        is_newer = self.hint.index > self.configured_at
        return self.hint.voters if is_newer else MappingProxyType({})

    @property
    def addresses(self) -> Mapping[NodeId, Address]:
        """Where every other node is reached that may be linked with."""
        known = self.told if not self.members else _addresses(self.members)
        everyone = {**self.hint.addresses, **known}
        return {node: where for node, where in everyone.items() if node != self.node}

    @property
    def dialled(self) -> Mapping[NodeId, Address]:
        """Whom this node is to dial: of each pair, the first by name does; learners need no link.

        By name, not by role: two nodes may disagree for a while on a role, never on a name.
        """
        newer = self._newer_voters()
        dials_all = self.votes or not self.configuration  # who knows no voter looks for one
        return {
            peer: where
            for peer, where in self.addresses.items()
            if self.node < peer and (dials_all or peer in self.configuration or peer in newer)
        }

    def tell(self) -> Hint:
        """Say what this node's own log says of the voters."""
        where = {**self.told, **_addresses(self.members)}
        return Hint(
            self.configured_at,
            self.configuration,
            {node: where[node] for node in self.configuration if node in where},
        )


def _addresses(members: Mapping[NodeId, Member]) -> dict[NodeId, Address]:
    """Read where members are reached; an address that makes no sense harms nobody else."""
    found = {}
    for node, member in members.items():
        with contextlib.suppress(ValueError):
            endpoint = HostPort.parse(member.address)
            found[node] = (endpoint.host, endpoint.port)
    return found
