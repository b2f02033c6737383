"""ClusterState: the one value that every node agrees on, byte for byte.

`core/apply.py` is the only way to change it; `core/codec.py` turns it into bytes; `core/plan.py`
reads from it what should be published.

Nothing here is secret: no private key ever enters a command, the log or a snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from rbcluster.core.ids import ClusterId, Incarnation, NodeId, Term, UnixMs
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Standing
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.hs.params import MAX_INTRO_POINTS
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import DescriptorSlot, TimePeriod

SCHEMA_VERSION = 1
"""Newest version of commands and state that this release knows. Raised when an older one could
misread them; what is new then may be used only where `ClusterState.schema` has come to it."""

MAX_VOTERS = 7  # ours: it survives three failures; each further one slows every commit down


class Role(Enum):
    """What a member may do in Raft."""

    VOTER = "voter"
    LEARNER = "learner"  # follows without a vote


class Wish(Enum):
    """What an operator wants a member to be; the leader brings it about when that is safe."""

    VOTER = "voter"
    LEARNER = "learner"
    GONE = "gone"  # no member any more


class Presence(Enum):
    """Whether a member's introduction points count."""

    LIVE = "live"
    WITHDRAWN = "withdrawn"  # silent for `withdraw_after`; comes back by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One node of the cluster."""

    node: NodeId
    address: str  # where its peers reach it: "host:port"
    role: Role = Role.VOTER
    weight: int = 1  # share of introduction points against the others; >= 1
    presence: Presence = Presence.LIVE  # set by the office holder only
    drained: bool = False  # set by an operator: not to be shown, for it is about to be stopped
    wish: Wish = Wish.VOTER
    incarnation: Incarnation | None = None  # of the storage that votes; None of a learner's

    def __post_init__(self) -> None:
        if self.weight < 1:
            msg = f"node {self.node}: weight must be at least 1, not {self.weight}"
            raise ValueError(msg)

    @property
    def may_be_shown(self) -> bool:
        """Whether its introduction points count."""
        return self.presence is Presence.LIVE and not self.drained


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every setting that decisions read: replicated, so that nodes with unlike files agree."""

    max_intro_points: int = MAX_INTRO_POINTS  # per descriptor; 1..20
    withdraw_after_ms: int = 6_000  # silence after which a node leaves the descriptor
    settle_ms: int = 1_000  # how long a burst of additions is gathered into one upload
    refresh_min_ms: int = 3_600_000  # a descriptor is renewed at a uniform random age between
    refresh_max_ms: int = 7_200_000  # these two, as tor does
    upload_burst: int = 5  # reservations a (service, period) may make at once
    upload_every_ms: int = 10_000  # ... and one more after each such span
    fetch_every_ms: int = 120_000  # how often a backend's descriptor is looked for
    stale_after_ms: int = 9_000_000  # without a rise of its revision; tor's comes in 2 h at most
    shuffle_seed: bytes = bytes(32)  # orders introduction points; public randomness, 32 bytes

    def __post_init__(self) -> None:
        if not 1 <= self.max_intro_points <= MAX_INTRO_POINTS:
            msg = f"max_intro_points must be 1..{MAX_INTRO_POINTS}, not {self.max_intro_points}"
            raise ValueError(msg)
        if not 0 < self.refresh_min_ms <= self.refresh_max_ms:
            msg = "refresh_min_ms must be positive and not above refresh_max_ms"
            raise ValueError(msg)
        spans = (self.withdraw_after_ms, self.upload_every_ms, self.fetch_every_ms)
        if min(*spans, self.upload_burst, self.stale_after_ms) < 1:
            raise ValueError(
                "withdraw_after_ms, upload_burst, upload_every_ms, fetch_every_ms and "
                "stale_after_ms must be positive"
            )
        if self.settle_ms < 0 or len(self.shuffle_seed) != 32:  # noqa: PLR2004 - a SHA-256 key
            raise ValueError("settle_ms must not be negative, shuffle_seed must be 32 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Who may reserve publications: the last leader that took office."""

    node: NodeId
    term: Term  # only ever rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """An operator wants the office holder to hand the leadership over."""

    to: NodeId | None  # a voter; None: to whom it chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node's introduction points for one service, as its own tor last listed them."""

    origin: OnionAddress  # the service (identity "shared"), or an address of the node's own
    points: tuple[IntroPoint, ...]  # descriptor order; never empty (an empty report is no entry)
    traits: ServiceTraits
    reported_at: UnixMs  # the reporter's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """An onion service beside the cluster, and what its newest descriptor listed."""

    points: tuple[IntroPoint, ...] = ()  # empty: none was found yet, or it has grown stale
    traits: ServiceTraits = field(default_factory=ServiceTraits)
    standing: Standing | None = None  # of that descriptor; only rises
    risen_at: UnixMs | None = None  # when that was first seen, by the office holder's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A revision set apart for one round of uploads: the fencing token of a publication."""

    slot: DescriptorSlot
    revision: RevisionCounter
    digest: bytes  # 32 bytes: SHA-256 over which points go to which HSDir (`plan.py`)
    node: NodeId  # the office holder that made it
    term: Term
    reserved_at: UnixMs
    hsdirs: tuple[Fingerprint, ...]  # every HSDir that must accept it, ring order
    auth_keys: tuple[IntroAuthKey, ...]  # the introduction points it puts on show, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadBudget:
    """A token bucket in integers, so that every node computes the same. Tokens are in 1/1000."""

    millitokens: int
    updated_at: UnixMs


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """All that is known of one blinded key's descriptor: what was reserved, what was accepted."""

    period: TimePeriod
    floor: RevisionCounter  # no revision at or below it may be reserved; only rises
    budget: UploadBudget
    reservation: Reservation | None = None  # the last; below floor once that was raised since
    accepted: frozenset[Fingerprint] = frozenset()  # HSDirs that hold the reservation's revision
    refused: Mapping[Fingerprint, str] = field(default_factory=lambda: MappingProxyType({}))
    finished_at: UnixMs | None = None  # when its answers were last recorded; None before the first
    refresh_at: UnixMs | None = None  # when to renew it though nothing changed

    @property
    def is_accepted(self) -> bool:
        """Whether every HSDir that the last reservation names holds its revision."""
        last = self.reservation
        return last is not None and self.accepted.issuperset(last.hsdirs)


PoolKey = tuple[OnionAddress, NodeId]
BackendKey = tuple[OnionAddress, OnionAddress]  # (service, backend)
PublicationKey = tuple[OnionAddress, int]  # (service, time period number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A token that lets one new node in: only its hash is kept."""

    expires_at: UnixMs  # the inviter's clock
    role: Wish  # what the new node is to be


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything that is replicated. A fresh node starts with `ClusterState()`."""

    schema: int = 1  # version in force: rises (`RaiseSchema`) once every member knows the next
    name: str = ""  # the cluster's; empty until it is seeded
    cluster_id: ClusterId | None = None  # set with the name
    members: Mapping[NodeId, Member] = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[OnionAddress, str] = field(default_factory=lambda: MappingProxyType({}))
    policy: Policy = field(default_factory=Policy)
    pool: Mapping[PoolKey, NodeReport] = field(default_factory=lambda: MappingProxyType({}))
    backends: Mapping[BackendKey, Backend] = field(default_factory=lambda: MappingProxyType({}))
    office: Office | None = None
    transfer: Transfer | None = None  # asked of this very office; gone with it, or when it failed
    maintenance_until: UnixMs | None = None  # until then silence withdraws nobody; None: it does
    invitations: Mapping[bytes, Invitation] = field(  # by the hash of the token's proof
        default_factory=lambda: MappingProxyType({})
    )
    publications: Mapping[PublicationKey, Publication] = field(
        default_factory=lambda: MappingProxyType({})
    )

    @property
    def is_seeded(self) -> bool:
        """Whether the cluster has been founded."""
        return bool(self.name)
