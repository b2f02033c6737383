"""Commands: the only messages that change `ClusterState`, and their msgpack form.

The proposer stamps instants and random values into a command; `core/apply.py` never asks for any.
On the wire a command is ``msgpack([schema version, kind, fields])``; an unknown kind is refused,
not guessed, and a newer version stops the node (`SchemaError`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rbcluster.core.ids import (
    UNDRAWN_CLUSTER_ID,
    ClusterId,
    Incarnation,
    NodeId,
    Term,
    UnixMs,
)
from rbcluster.core.state import (
    BackendKey,
    Invitation,
    Member,
    Policy,
    Presence,
    Reservation,
    Role,
    Wish,
)
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Standing
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod

MAX_MAINTENANCE_MS = 24 * 3_600_000  # our choice: a node that dies in it stays on show so long


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedCluster:
    """Found the cluster from cluster.toml. Refused once it has been founded."""

    name: str
    members: tuple[Member, ...]
    services: Mapping[OnionAddress, str]  # address -> the operator's short name for it
    policy: Policy
    cluster_id: ClusterId = UNDRAWN_CLUSTER_ID
    backends: frozenset[BackendKey] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOffice:
    """A new leader claims the right to reserve. Refused unless the term is above the last."""

    node: NodeId
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportIntroPoints:
    """A node says which introduction points it holds for a service; none withdraws them.

    `descriptor` is the signed document they were read from: the leader verifies it against the
    origin before the command enters the log; `apply` keeps only the points.
    """

    node: NodeId
    service: OnionAddress
    origin: OnionAddress  # whose descriptor: the service's, or the node's own for it
    points: tuple[IntroPoint, ...]
    traits: ServiceTraits
    descriptor: bytes  # empty only when `points` is
    reported_at: UnixMs


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBackend:
    """The office holder found a backend's newer descriptor, or that there was none for too long.

    It has verified the descriptor itself, so that is not in the command.
    """

    service: OnionAddress
    backend: OnionAddress
    points: tuple[IntroPoint, ...]  # empty: it lists none, or is stale
    traits: ServiceTraits
    standing: Standing  # of the newest descriptor found, stale or not
    at: UnixMs
    office_node: NodeId
    office_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPresence:
    """The office holder saw a node fall silent, or heard it again.

    Withdrawing a node forgets its introduction points; it reports them afresh when it is back.
    """

    node: NodeId
    presence: Presence
    office_node: NodeId
    office_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservePublication:
    """Set a revision apart for one round of uploads.

    Accepted only from the office holder of that very term, only for
    ``floor < revision <= floor + MAX_REVISION_STEP``, and only within the upload budget.
    """

    service: OnionAddress
    period: TimePeriod
    reservation: Reservation
    is_withdrawal: bool  # it takes points away: may use the part of the budget kept for that


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseFloor:
    """An HSDir holds a revision that is not ours: reserve only above it."""

    service: OnionAddress
    period: TimePeriod
    floor: RevisionCounter
    office_node: NodeId
    office_term: Term
    at: UnixMs


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRound:
    """How a round ended: which HSDirs hold the revision, which refused it and why."""

    service: OnionAddress
    period: TimePeriod
    revision: RevisionCounter
    accepted: frozenset[Fingerprint]
    refused: Mapping[Fingerprint, str]
    finished_at: UnixMs
    refresh_at: UnixMs
    office_node: NodeId
    office_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTransfer:
    """An operator wants the office holder of `term` to hand the leadership over.

    Refused once the office has changed hands, so an order that comes late unseats nobody.
    """

    to: NodeId | None  # a voter; None: to whom the office holder chooses
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTransfer:
    """The office holder tried to hand over as ordered, and still leads."""

    office_node: NodeId
    office_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDrained:
    """An operator takes a node's introduction points off the descriptors, or lets them back.

    Unless forced, refused if no other node would be left on show.
    """

    node: NodeId
    drained: bool
    force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMaintenance:
    """An operator says until when the silence of nodes withdraws nobody."""

    at: UnixMs  # when it was asked for
    until: UnixMs | None  # at most `MAX_MAINTENANCE_MS` later; None: from now on it does again


@dataclass(frozen=True, slots=True, kw_only=True)
class EndMaintenance:
    """The office holder saw the end of a maintenance come. Refused if that was moved meanwhile."""

    until: UnixMs
    office_node: NodeId
    office_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseSchema:
    """Go over to a newer version of the state machine. Proposed when every member knows it.

    A node that does not know it stops when it comes to this command: it could not apply what
    follows as the others do.
    """

    version: int
    office_node: NodeId
    office_term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMember:
    """An operator adds a node, whose certificate was made where the authority's key is.

    It begins as a learner, whatever it is to become.
    """

    node: NodeId
    address: str  # "host:port"
    wish: Wish
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWish:
    """An operator says what a member is to be: a voter, a learner, or gone."""

    node: NodeId
    wish: Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAddress:
    """An operator says where a member's peers reach it."""

    node: NodeId
    address: str  # "host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """A node that can issue certificates has made a token."""

    digest: bytes  # SHA-256 of its secret: what the log holds lets nobody in
    invitation: Invitation


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptInvitation:
    """A node came with a token: it is spent, and the node a member. Only then it is certified.

    The proof is a hash of the token's secret: enough to spend the token, and nothing that would let
    anybody in, for it stays in the log even where the command is refused.
    """

    proof: bytes = field(repr=False)  # 32 bytes, whose SHA-256 is the invitation's digest
    node: NodeId
    address: str  # "host:port"
    at: UnixMs


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRole:
    """The leader gives one member a vote, or takes it: a change of Raft's configuration.

    Only ever in a configuration entry of the log (`raft/configuration.py`), which says the same.
    """

    node: NodeId
    role: Role
    incarnation: Incarnation | None  # of a new voter: the storage that has caught up


@dataclass(frozen=True, slots=True, kw_only=True)
class DropMember:
    """The leader ends the membership of a learner. In a configuration entry, as `ChangeRole`."""

    node: NodeId


MembershipCommand = (
    AddMember | SetWish | SetAddress | Invite | AcceptInvitation | ChangeRole | DropMember
)

MemberRequest = AddMember | SetWish | SetAddress | Invite
"""What a person decides about the members; enters as `OperatorCommand` does."""

OperatorCommand = OrderTransfer | SetDrained | SetMaintenance
"""What a person decides: enters by any node's API (`agent/admission.py` says from whom)."""

ConfigurationCommand = SeedCluster | ChangeRole | DropMember
"""What may stand only in a configuration entry of the log, one at a time."""

Command = (
    SeedCluster
    | TakeOffice
    | ReportIntroPoints
    | ReportBackend
    | SetPresence
    | ReservePublication
    | RaiseFloor
    | RecordRound
    | EndTransfer
    | EndMaintenance
    | RaiseSchema
    | OperatorCommand
    | MembershipCommand
)


@dataclass(frozen=True, slots=True)
class Applied:
    """The command changed the state (or confirmed what it said)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The command changed nothing; the rule it broke, in a few words."""

    rule: str


Verdict = Applied | Refused
