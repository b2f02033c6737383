"""The ledger: everything that was ever committed or uploaded, and the rules that must hold.

Written in words of its own: it takes no rule from `core/apply.py`, which it watches. Each check
stands where the thing happens; what can only be seen at the end is in `convergence.py`.

Held here:

- one command and one state at each index of the log, on whatever node, at whatever time;
- what a node was told is committed is in the log;
- a voter votes once in a term; a term has one leader, with the votes of a majority, each given by
  the storage that may; the office is taken in rising terms by that leader;
- votes are given and taken one at a time, and only who has none may leave;
- reservations come from the office holder, each above the last, never two contents for one
  (blinded key, revision, HSDir), never with introduction points of a withdrawn, drained or removed
  node, and not more of them than the upload budget allows;
- nothing is uploaded but what was reserved, by a node that is still in office as far as it knows,
  and what an HSDir holds only rises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rbcluster.core.codec import decode_command, encode_state
from rbcluster.core.commands import (
    AddMember,
    Applied,
    ChangeRole,
    Command,
    DropMember,
    RaiseFloor,
    RecordRound,
    ReservePublication,
    SeedCluster,
    SetDrained,
    SetPresence,
    TakeOffice,
    Verdict,
)
from rbcluster.core.ids import Incarnation, LogIndex, NodeId
from rbcluster.core.state import ClusterState, Policy, Presence, PublicationKey
from rbcluster.core.state import Role as MemberRole
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import BlindedKey
from rbcluster.raft.configuration import Configuration
from rbcluster.raft.view import RaftView, Role
from tests.sim.describe import describe, name_of
from tests.sim.site import OWNERS
from tests.sim.stand_ins import read_document
from tests.sim.timeline import Timeline

CLOCK_SLACK_S = 60.0
"""How much further than time itself the clocks of successive office holders may get: two that
trust their clocks differ by as much (`core.ids.MAX_CLOCK_SPREAD_MS`)."""


@dataclass(slots=True)
class Ledger:
    """What is known of one run."""

    timeline: Timeline
    clock: Callable[[], float]  # true seconds
    policy: Policy
    state_of: Callable[[NodeId], ClusterState]  # what a node has applied
    state: ClusterState = field(default_factory=ClusterState)  # after the last known command
    configured_at: int = 0  # the last index at which the voters changed
    members: set[NodeId] = field(default_factory=set)
    voters: set[NodeId] = field(default_factory=set)
    votes: dict[tuple[NodeId, Incarnation | None, int], NodeId] = field(default_factory=dict)
    log: dict[int, tuple[bytes, ClusterState]] = field(default_factory=dict)  # with state after
    committed: set[bytes] = field(default_factory=set)
    leaders: dict[int, NodeId] = field(default_factory=dict)  # by term
    office: tuple[int, NodeId] | None = None  # term, node
    withdrawn: set[NodeId] = field(default_factory=set)
    drained: set[NodeId] = field(default_factory=set)
    revisions: dict[PublicationKey, int] = field(default_factory=dict)
    reserved_at: dict[PublicationKey, list[float]] = field(default_factory=dict)
    contents: dict[tuple[BlindedKey, int, Fingerprint], frozenset[bytes]] = field(
        default_factory=dict
    )
    held: dict[tuple[Fingerprint, BlindedKey], int] = field(default_factory=dict)

    # The log

    def applied(
        self, node: NodeId, index: int, command: bytes, state: ClusterState, verdict: Verdict | None
    ) -> None:
        """Take note that a node has applied an entry."""
        known = self.log.get(index)
        if known is None:
            self.log[index] = command, state
            self.committed.add(command)
            self.state = state
            self._enter(node, index, decode_command(command), verdict)
        elif known[0] != command:
            self.timeline.violate(
                node,
                f"index {index} holds {name_of(command)} here, {name_of(known[0])} elsewhere: "
                "a committed command is lost",
            )
        elif known[1] != state:
            self.timeline.violate(node, f"its state after index {index} differs from the others'")

    def jumped(self, node: NodeId, index: LogIndex, state: ClusterState) -> None:
        """Compare the state of a node that adopted a snapshot."""
        before = max((known for known in self.log if known <= index), default=None)
        if before is not None and encode_state(self.log[before][1]) != encode_state(state):
            self.timeline.violate(node, f"its snapshot at index {index} differs from the others'")

    def acknowledged(self, node: NodeId, command: bytes) -> None:
        """Take note that a proposer was told that its command is committed."""
        if command not in self.committed:
            self.timeline.violate(node, f"{name_of(command)} was acknowledged, and is in no log")

    @property
    def last_index(self) -> int:
        return max(self.log, default=1)

    # What commands bring about

    def _enter(self, node: NodeId, index: int, command: Command, verdict: Verdict | None) -> None:
        is_applied = isinstance(verdict, Applied)
        said = "" if is_applied else f" -> {verdict}"
        self.timeline.note(node, f"#{index} {describe(command)}{said}")
        if not is_applied:
            return
        match command:
            case SeedCluster() | AddMember() | ChangeRole() | DropMember():
                self._change_members(node, index, command)
            case TakeOffice():
                self._take_office(command)
            case SetPresence(presence=Presence.WITHDRAWN):
                self._require_office(command.office_term, command.office_node, "withdrew a node")
                self.withdrawn.add(command.node)
            case SetPresence():
                self._require_office(command.office_term, command.office_node, "took a node back")
                self.withdrawn.discard(command.node)
            case SetDrained(drained=True):
                self.drained.add(command.node)
            case SetDrained():
                self.drained.discard(command.node)
            case ReservePublication():
                self._reserve(command)
            case RaiseFloor() | RecordRound():
                self._require_office(command.office_term, command.office_node, "spoke of a round")
            case _:
                pass

    def _change_members(
        self,
        node: NodeId,
        index: int,
        command: SeedCluster | AddMember | ChangeRole | DropMember,
    ) -> None:
        self.configured_at = index if not isinstance(command, AddMember) else self.configured_at
        match command:
            case SeedCluster():
                self.members = {member.node for member in command.members}
                self.voters = {m.node for m in command.members if m.role is MemberRole.VOTER}
                if len(self.voters) != 1:
                    self.timeline.violate(node, f"{len(self.voters)} voters founded the cluster")
            case AddMember() if command.node not in self.members:
                self.members.add(command.node)
                self.withdrawn.add(command.node)  # until it is heard
            case ChangeRole():
                is_known = command.node in self.members
                if not is_known or (command.node in self.voters) is (
                    command.role is MemberRole.VOTER
                ):
                    self.timeline.violate(node, f"{describe(command)} changes no vote")
                self.voters ^= {command.node}
            case DropMember():
                if command.node in self.voters:
                    self.timeline.violate(node, f"{command.node} left with its vote")
                for nodes in (self.members, self.withdrawn, self.drained):
                    nodes.discard(command.node)
            case _:  # said again
                pass

    def _take_office(self, command: TakeOffice) -> None:
        if self.office is not None and command.term <= self.office[0]:
            self.timeline.violate(
                command.node, f"took office in term {command.term}, after term {self.office[0]}"
            )
        if self.leaders.get(command.term, command.node) != command.node:
            self.timeline.violate(command.node, f"took office in another's term {command.term}")
        if command.node not in self.voters:
            self.timeline.violate(command.node, "took office without a vote")
        self.office = command.term, command.node

    def _require_office(self, term: int, node: NodeId, what: str) -> None:
        if self.office != (term, node):
            self.timeline.violate(node, f"{what} by an office of term {term} that it doesn't hold")

    def _reserve(self, command: ReservePublication) -> None:
        wanted, key = command.reservation, (command.service, command.period.number)
        self._require_office(wanted.term, wanted.node, "a reservation was accepted")
        last = self.revisions.get(key, 0)
        if wanted.revision <= last:
            self.timeline.violate(wanted.node, f"revision {wanted.revision} is not above {last}")
        self.revisions[key] = wanted.revision
        owners = {OWNERS[auth_key] for auth_key in wanted.auth_keys}
        gone = owners & (self.withdrawn | self.drained) | (owners - self.members)
        if gone:
            names = ", ".join(sorted(map(str, gone)))
            self.timeline.violate(
                wanted.node,
                f"reserved introduction points of {names}, withdrawn, drained or removed before",
            )
        blinded = derive_blinded_key(command.service.identity, command.period)
        keys = frozenset(auth_key.raw for auth_key in wanted.auth_keys)
        for hsdir in wanted.hsdirs:
            if self.contents.setdefault((blinded, wanted.revision, hsdir), keys) != keys:
                self.timeline.violate(wanted.node, f"revision {wanted.revision} has two contents")
        self._count(key)

    def _count(self, key: PublicationKey) -> None:
        """Hold reservations against the budget: a burst, and one for each span of time."""
        instants = self.reserved_at.setdefault(key, [])
        instants.append(self.clock())
        for number, since in enumerate(instants):
            spent = len(instants) - number
            elapsed_ms = 1000 * (instants[-1] - since + CLOCK_SLACK_S)
            allowed = self.policy.upload_burst + elapsed_ms / self.policy.upload_every_ms
            if spent > allowed:
                self.timeline.violate(
                    "budget", f"{spent} reservations within {instants[-1] - since:.1f} s"
                )

    # Raft

    def looked(self, node: NodeId, view: RaftView, voters: Configuration) -> None:
        """Take note of what a node believes."""
        if view.role is not Role.LEADER:
            return
        if view.term not in self.leaders:
            self.leaders[view.term] = node
            self._require_elected(node, view.term, voters)
        if (known := self.leaders[view.term]) != node:
            self.timeline.violate(node, f"leads in term {view.term}, as {known} did")

    def _require_elected(self, node: NodeId, term: int, voters: Configuration) -> None:
        given = [v for v in voters if v == node or self.votes.get((v, voters[v], term)) == node]
        if 2 * len(given) <= len(voters):
            self.timeline.violate(
                node, f"leads in term {term} with {len(given)} votes of {len(voters)}"
            )

    def voted(
        self, voter: NodeId, storage: Incarnation | None, term: int, candidate: NodeId
    ) -> None:
        """Take note of a vote: a candidate's own, or an answer that is on its way."""
        known = self.votes.setdefault((voter, storage, term), candidate)
        if known != candidate:
            self.timeline.violate(
                voter, f"votes for {candidate} in term {term}, and did for {known} before"
            )

    # HSDirs

    def sent(self, node: NodeId, hsdir: Fingerprint, document: bytes) -> None:
        """Take note that a descriptor is on its way."""
        blinded, revision, keys = read_document(document)
        self._require_standing(node, revision)
        reserved = self.contents.get((blinded, revision, hsdir))
        if reserved is None:
            self.timeline.violate(node, f"uploads revision {revision}, which nobody reserved")
        elif reserved != keys:
            self.timeline.violate(node, f"uploads revision {revision} with another content")

    def _require_standing(self, node: NodeId, revision: int) -> None:
        """Hold an upload against what its sender itself has applied by now."""
        state = self.state_of(node)
        office = state.office
        last = {p.reservation.revision for p in state.publications.values() if p.reservation}
        if office is None or office.node != node:
            self.timeline.violate(node, f"uploads revision {revision} though not in office")
        elif revision not in last:
            self.timeline.violate(node, f"uploads revision {revision}, which it knows is overtaken")

    def stored(self, hsdir: Fingerprint, document: bytes) -> None:
        """Take note of what an HSDir holds now."""
        blinded, revision, _ = read_document(document)
        if revision <= self.held.get((hsdir, blinded), -1):
            self.timeline.violate(str(hsdir)[:8], f"fell back to revision {revision}")
        self.held[hsdir, blinded] = revision
