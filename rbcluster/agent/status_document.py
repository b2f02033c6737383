"""The status document: what a node's daemon knows of its cluster, as `/v1/status` answers it.

`docs/status.md` says what each key means. Keys are never dropped: what is unknown is null, what
there is none of is an empty list. New keys may come; the meaning of one never changes within v1.

`status.py` fills it on the node that answers; the CLI, metrics and an operator's scripts read it.
"""

from __future__ import annotations

from typing import Final, Literal

from typing_extensions import TypedDict  # typing's own can't be checked by pydantic before 3.12

Health = Literal["healthy", "degraded", "no-leader"]
NodeState = Literal[
    "leader", "follower", "candidate", "learner", "unlinked", "unreachable", "withdrawn"
]
HsDirState = Literal["accepted", "pending", "failed"]

EXIT_CODES: Final[dict[Health, int]] = {"healthy": 0, "degraded": 1, "no-leader": 2}


class ClusterStatus(TypedDict):
    """The cluster as Raft sees it."""

    name: str
    leader: str | None
    term: int
    commit_index: int
    last_applied: int
    voters: list[str]
    quorum: int  # voters that must agree
    has_quorum: bool
    failures_tolerated: int  # voters that may still fail, from now
    maintenance_until: str | None  # ISO 8601, UTC; until then silence withdraws nobody
    state_digest: str  # hexadecimal SHA-256 of the replicated state


class TorState(TypedDict):
    """A node's tor."""

    connected: bool
    version: str | None
    bootstrapped: int | None  # percent


class NodeStatus(TypedDict):
    """One node."""

    name: str
    address: str
    role: Literal["voter", "learner"]
    state: NodeState
    drained: bool  # taken off the descriptors by an operator
    visitors: int | None  # connected through its tor
    intro_points: int  # in the pool, over all services
    on_show: int  # ... of which the last descriptors list
    last_contact_seconds: float | None  # 0 for the node that answers
    can_publish: bool | None
    faults: list[str]  # why it can't
    tor: TorState
    clock_offset_seconds: float | None  # ahead of the voters' median
    version: str | None  # of rbcluster


class HsDirStatus(TypedDict):
    """One HSDir that is responsible for a descriptor."""

    fingerprint: str  # 40 hexadecimal digits
    state: HsDirState
    detail: str


class DescriptorStatus(TypedDict):
    """One of a service's two descriptors."""

    slot: Literal["first", "second"]
    period: int  # time period number
    revision: int | None
    intro_points: int
    published_at: str | None  # ISO 8601, UTC
    next_refresh_at: str | None
    next: str  # what the leader will do with it, and when or why not
    hsdirs: list[HsDirStatus]


class BackendStatus(TypedDict):
    """One onion service beside the cluster whose points are merged."""

    address: str
    intro_points: int
    last_rise_at: str | None  # ISO 8601, UTC: when its descriptor was last seen to be a newer one


class ServiceStatus(TypedDict):
    """One onion service."""

    name: str
    address: str
    pool: int  # introduction points that could be listed
    published: bool  # every responsible HSDir holds both descriptors
    backends: list[BackendStatus]
    descriptors: list[DescriptorStatus]


class StatusDocument(TypedDict):
    """The whole answer."""

    cluster: ClusterStatus
    self: str  # the node that answers
    health: Health
    problems: list[str]  # sentences, each with its remedy
    nodes: list[NodeStatus]
    services: list[ServiceStatus]
    turned_away: dict[str, int]  # connections to this node that did not become links, by cause
    notes: list[str]  # sentences on what is right as it stands, and yet should be known
