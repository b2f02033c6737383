"""What tests of the status document look at: a healthy cluster, and what may befall it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from pydantic import TypeAdapter

from rbcluster.agent.heartbeat import Heartbeat, TorSummary
from rbcluster.agent.peers import PeerRecord
from rbcluster.agent.status import StatusInputs, status_document
from rbcluster.agent.status_document import NodeStatus, StatusDocument
from rbcluster.core.commands import (
    RecordRound,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    TakeOffice,
)
from rbcluster.core.ids import LogIndex, NodeId, Term, UnixMs
from rbcluster.core.plan import WantedDescriptor, derive_slot_rings, plan
from rbcluster.core.state import ClusterState, Member, Policy, Reservation, Role, Wish
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.revision import RevisionCounter
from rbcluster.instants import Monotonic
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.view import RaftView
from rbcluster.raft.view import Role as RaftRole
from tests.shared.builders import after
from tests.shared.virtual_time import unix_ms
from tests.unit.agent.world import ADA, BOB, CYD, SITE, START, consensus, point

EVE = NodeId("eve")  # a learner
NOW_MS = unix_ms(START)
RINGS = derive_slot_rings(consensus())
SEED = SeedCluster(
    name="world",
    members=tuple(
        Member(node=node, address=f"{node}:1", role=Role.LEARNER, wish=Wish.LEARNER)
        if node == EVE
        else Member(node=node, address=f"{node}:1")
        for node in (ADA, BOB, CYD, EVE)
    ),
    services={SITE: "site"},
    policy=Policy(),
)
DOCUMENT = TypeAdapter(StatusDocument)
ALL: frozenset[Fingerprint] = frozenset(hsdir.fingerprint for hsdir in consensus().hsdirs)


def report(node: NodeId, *numbers: int, service: OnionAddress = SITE) -> ReportIntroPoints:
    return ReportIntroPoints(
        node=node,
        service=service,
        origin=service,
        points=tuple(map(point, numbers)),
        traits=ServiceTraits(),
        descriptor=b"signed" if numbers else b"",
        reported_at=UnixMs(NOW_MS),
    )


def founded() -> ClusterState:
    reports = (report(node, number) for number, node in enumerate((ADA, BOB, CYD, EVE), start=1))
    return after([SEED, TakeOffice(node=ADA, term=Term(1)), *reports])


def published(
    state: ClusterState,
    accepted: Collection[Fingerprint] = ALL,
    refused: Mapping[Fingerprint, str] | None = None,
    revision: int = 7,
) -> ClusterState:
    """The state after a round for each descriptor that is wanted in it."""
    for wanted in plan(state, RINGS):
        state = after(
            _round(wanted, frozenset(accepted), refused or {}, RevisionCounter(revision)), state
        )
    return state


def _round(
    wanted: WantedDescriptor,
    accepted: frozenset[Fingerprint],
    refused: Mapping[Fingerprint, str],
    revision: RevisionCounter,
) -> tuple[ReservePublication, RecordRound]:
    period = wanted.slot_time.period
    reservation = Reservation(
        slot=wanted.slot_time.slot,
        revision=revision,
        digest=wanted.digest,
        node=ADA,
        term=Term(1),
        reserved_at=NOW_MS,
        hsdirs=wanted.hsdirs,
        auth_keys=wanted.auth_keys,
    )
    return (
        ReservePublication(
            service=wanted.service, period=period, reservation=reservation, is_withdrawal=False
        ),
        RecordRound(
            service=wanted.service,
            period=period,
            revision=revision,
            accepted=accepted & set(wanted.hsdirs),
            refused={hsdir: why for hsdir, why in refused.items() if hsdir in wanted.hsdirs},
            finished_at=NOW_MS,
            refresh_at=UnixMs(NOW_MS + 3_600_000),
            office_node=ADA,
            office_term=Term(1),
        ),
    )


def heard(*, faults: tuple[str, ...] = (), ago_s: float = 0.5, offset_ms: int = 0) -> PeerRecord:
    tor = TorSummary(connected=True, version="0.4.9.11", bootstrapped=100)
    heartbeat = Heartbeat(sent_at_ms=NOW_MS, faults=faults, tor=tor, visitors=4, version="9.9")
    return PeerRecord(
        heartbeat=heartbeat, heard_at=Monotonic(100 - ago_s), clock_offset_ms=offset_ms
    )


WELL = heard().heartbeat
VIEW = RaftView(
    role=RaftRole.LEADER,
    leader=ADA,
    term=Term(1),
    commit_index=LogIndex(12),
    last_applied=LogIndex(11),
    voters=(ADA, BOB, CYD),
    connected=frozenset({BOB, CYD, EVE}),
    has_quorum=True,
)


def told_by(state: ClusterState) -> StatusInputs:
    """What ada knows, who leads a cluster in which everybody is heard."""
    return StatusInputs(
        node=ADA,
        state=state,
        view=VIEW,
        num_turned_away=dict.fromkeys(TurnedAway, 0),
        has_consensus=True,
        wanted=plan(state, RINGS),
        own_heartbeat=WELL,
        own_clock_offset_ms=0,
        peers={node: heard() for node in (BOB, CYD, EVE)},
        exhausted=(),
        now=Monotonic(100.0),
        wall_ms=NOW_MS,
        seed=SEED,
    )


HEALTHY = told_by(published(founded()))


def without(inputs: StatusInputs, node: NodeId) -> StatusInputs:
    """... who never heard of a node."""
    return replace(inputs, peers={n: r for n, r in inputs.peers.items() if n != node})


def hearing(inputs: StatusInputs, node: NodeId, record: PeerRecord) -> StatusInputs:
    return replace(inputs, peers={**inputs.peers, node: record})


def told_of(inputs: StatusInputs, node: NodeId) -> NodeStatus:
    (found,) = (n for n in status_document(inputs)["nodes"] if n["name"] == node.name)
    return found


def problems(inputs: StatusInputs) -> list[str]:
    document = status_document(inputs)
    assert document["health"] != "healthy"
    return document["problems"]


UNFOUNDED = replace(
    told_by(ClusterState()), view=replace(VIEW, leader=None, role=RaftRole.FOLLOWER)
)
