"""The status document: true, complete, and with a sentence for everything that is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from rbcluster.agent.heartbeat import Heartbeat, TorSummary
from rbcluster.agent.peers import PeerRecord
from rbcluster.agent.status import StatusInputs, status_document
from rbcluster.agent.status_document import EXIT_CODES, NodeStatus, StatusDocument
from rbcluster.core.codec import state_digest
from rbcluster.core.commands import (
    RecordRound,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    SetDrained,
    SetMaintenance,
    SetPresence,
    TakeOffice,
)
from rbcluster.core.ids import LogIndex, Monotonic, NodeId, RevisionCounter, Term, UnixMs
from rbcluster.core.plan import WantedDescriptor, derive_slot_rings, plan
from rbcluster.core.state import ClusterState, Member, Policy, Presence, Reservation, Role
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.lab.cluster import is_without
from rbcluster.raft.view import RaftView
from rbcluster.raft.view import Role as RaftRole
from tests.shared.builders import after
from tests.shared.virtual_time import unix_ms
from tests.unit.agent.world import ADA, BLOG, BOB, CYD, SITE, START, consensus, point

EVE = NodeId("eve")  # a learner
NOW_MS = unix_ms(START)
RINGS = derive_slot_rings(consensus())
SEED = SeedCluster(
    name="world",
    members=tuple(
        Member(node=node, address=f"{node}:1", role=Role.LEARNER if node == EVE else Role.VOTER)
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


@pytest.mark.parametrize(
    "inputs",
    [
        HEALTHY,
        UNFOUNDED,
        replace(HEALTHY, wanted=(), has_consensus=False),
        told_by(founded()),
        without(HEALTHY, CYD),
        replace(HEALTHY, exhausted=((SITE, 1),)),
    ],
    ids=["healthy", "not founded", "no consensus", "never published", "a node gone", "exhausted"],
)
def test_document_keeps_to_its_schema(inputs: StatusInputs) -> None:
    document = status_document(inputs)
    assert DOCUMENT.validate_python(document, strict=True) == document


def test_healthy_cluster_has_no_problems() -> None:
    document = status_document(HEALTHY)
    assert (document["health"], document["problems"]) == ("healthy", [])
    assert (document["self"], EXIT_CODES[document["health"]]) == ("ada", 0)


def test_every_number_of_the_cluster_is_told() -> None:
    assert status_document(HEALTHY)["cluster"] == {
        "name": "world",
        "leader": "ada",
        "term": 1,
        "commit_index": 12,
        "last_applied": 11,
        "voters": ["ada", "bob", "cyd"],
        "quorum": 2,
        "has_quorum": True,
        "failures_tolerated": 1,
        "maintenance_until": None,
        "state_digest": state_digest(HEALTHY.state).hex(),
    }


def test_the_end_of_a_maintenance_is_told() -> None:
    until = UnixMs(NOW_MS + 1_800_000)
    state = after([SetMaintenance(at=NOW_MS, until=until)], HEALTHY.state)
    document = status_document(replace(HEALTHY, state=state))
    assert document["cluster"]["maintenance_until"] == "2026-03-01T16:00:00+00:00"
    assert document["health"] == "healthy"


def test_only_reachable_voters_can_be_spared() -> None:
    for connected, spare in ({BOB, CYD}, 1), ({BOB, EVE}, 0), (set(), 0):
        view = replace(VIEW, connected=frozenset(connected))
        cluster = status_document(replace(HEALTHY, view=view))["cluster"]
        assert cluster["failures_tolerated"] == spare


@pytest.mark.parametrize(
    ("inputs", "health", "exit_code"),
    [
        (HEALTHY, "healthy", 0),
        (told_by(founded()), "degraded", 1),
        (replace(HEALTHY, view=replace(VIEW, leader=None)), "no-leader", 2),
        (UNFOUNDED, "no-leader", 2),
    ],
)
def test_health_decides_the_exit_code(inputs: StatusInputs, health: str, exit_code: int) -> None:
    found = status_document(inputs)["health"]
    assert (found, EXIT_CODES[found]) == (health, exit_code)


# --- nodes


def test_every_field_of_a_peer_is_told() -> None:
    inputs = hearing(HEALTHY, BOB, heard(faults=("no key",), ago_s=2.04, offset_ms=1_500))
    assert told_of(replace(inputs, own_clock_offset_ms=-500), BOB) == {
        "name": "bob",
        "address": "bob:1",
        "role": "voter",
        "state": "follower",
        "drained": False,
        "visitors": 4,
        "intro_points": 1,
        "on_show": 1,
        "last_contact_seconds": 2.0,
        "can_publish": False,
        "faults": ["no key"],
        "tor": {"connected": True, "version": "0.4.9.11", "bootstrapped": 100},
        "clock_offset_seconds": 1.0,
        "version": "9.9",
    }


def test_what_is_not_known_of_a_node_is_null() -> None:
    node = told_of(without(HEALTHY, BOB), BOB)
    unknown = ("last_contact_seconds", "can_publish", "clock_offset_seconds", "visitors", "version")
    assert [node[key] for key in unknown] == [None] * 5  # type: ignore[literal-required]
    assert node["tor"] == {"connected": False, "version": None, "bootstrapped": None}


def test_drained_node_is_told_and_is_no_fault() -> None:
    state = published(after([SetDrained(node=BOB, drained=True, force=False)], founded()))
    document = status_document(told_by(state))
    assert [node["name"] for node in document["nodes"] if node["drained"]] == ["bob"]
    assert (told_of(told_by(state), BOB)["state"], told_of(told_by(state), BOB)["on_show"]) == (
        "follower",
        0,
    )
    assert document["health"] == "healthy"


def presence(state: ClusterState, node: NodeId) -> ClusterState:
    command = SetPresence(
        node=node, presence=Presence.WITHDRAWN, office_node=ADA, office_term=Term(1)
    )
    return after([command], state)


# Eve answers; ada is the other learner, and no node hears of her but through voters.
ON_A_LEARNER = replace(
    without(HEALTHY, ADA),
    node=EVE,
    state=replace(
        HEALTHY.state,
        members={
            **HEALTHY.state.members,
            ADA: replace(HEALTHY.state.members[ADA], role=Role.LEARNER),
        },
    ),
    view=replace(
        VIEW, role=RaftRole.LEARNER, leader=BOB, voters=(BOB, CYD), connected=frozenset({BOB, CYD})
    ),
)
AS_CANDIDATE = replace(VIEW, leader=None, role=RaftRole.CANDIDATE)


@pytest.mark.parametrize(
    ("inputs", "node", "state"),
    [
        (HEALTHY, ADA, "leader"),
        (replace(HEALTHY, view=replace(VIEW, leader=BOB)), BOB, "leader"),
        (HEALTHY, BOB, "follower"),
        (replace(HEALTHY, view=replace(VIEW, leader=BOB)), ADA, "follower"),
        (HEALTHY, EVE, "learner"),
        (replace(HEALTHY, view=AS_CANDIDATE), ADA, "candidate"),
        (replace(HEALTHY, view=AS_CANDIDATE), BOB, "follower"),
        (hearing(HEALTHY, CYD, heard(ago_s=5.9)), CYD, "follower"),
        (hearing(HEALTHY, CYD, heard(ago_s=6.0)), CYD, "unreachable"),
        (without(HEALTHY, CYD), CYD, "unreachable"),
        (hearing(HEALTHY, EVE, heard(ago_s=60)), EVE, "unreachable"),
        (ON_A_LEARNER, ADA, "unlinked"),
        (ON_A_LEARNER, EVE, "learner"),
        (ON_A_LEARNER, CYD, "follower"),
        (told_by(presence(founded(), CYD)), CYD, "withdrawn"),
        (without(told_by(presence(founded(), CYD)), CYD), CYD, "withdrawn"),
    ],
)
def test_each_node_has_one_state(inputs: StatusInputs, node: NodeId, state: str) -> None:
    assert told_of(inputs, node)["state"] == state


def test_points_of_a_node_that_no_descriptor_lists_are_not_on_show() -> None:
    state = after([report(BOB, 2, 12)], published(founded()))
    node = told_of(told_by(state), BOB)
    assert (node["intro_points"], node["on_show"]) == (2, 1)


def test_cluster_that_is_not_founded_shows_who_should_be_there() -> None:
    document = status_document(without(UNFOUNDED, BOB))
    assert document["cluster"]["name"] == "world"
    states = {node["name"]: node["state"] for node in document["nodes"]}
    assert states == {
        "ada": "follower",
        "bob": "unreachable",
        "cyd": "follower",
        "eve": "learner",
    }


def test_document_tells_when_nothing_of_a_node_is_on_show_any_more() -> None:
    """What the demo and the end-to-end tests go by."""
    served = published(founded())
    gone = presence(served, CYD)  # every HSDir still holds its points
    told = [
        status_document(told_by(state)) for state in (served, gone, published(gone, revision=8))
    ]
    assert [is_without(document, "cyd") for document in told] == [False, False, True]
    assert [is_without(document, "bob") for document in told] == [False, False, False]


def test_learner_does_not_call_another_learner_faulty() -> None:
    inputs = replace(
        ON_A_LEARNER, seed=replace(SEED, members=(*ON_A_LEARNER.state.members.values(),))
    )
    assert status_document(inputs)["problems"] == []


# --- problems

EXHAUSTED = (
    f"HSDirs refuse every revision of {SITE.shortened()}: something else publishes it; stop that"
)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (
            replace(HEALTHY, view=replace(VIEW, leader=None)),
            "no leader: a majority of the voters must run and reach each other",
        ),
        (told_by(ClusterState()), "the cluster is being founded"),
        (
            replace(HEALTHY, wanted=(), has_consensus=False),
            "ada: its tor has no consensus yet, so this node can't tell what is wanted",
        ),
        (
            told_by(published(presence(founded(), CYD))),
            "cyd is silent and withdrawn from the descriptor: start it, or see its log",
        ),
        (without(HEALTHY, CYD), "cyd does not answer: start it, or see its log"),
        (
            hearing(HEALTHY, BOB, heard(faults=("set the clock",))),
            "bob could not publish: set the clock",
        ),
        (
            told_by(published(after([report(BOB)], founded()))),
            "bob has no introduction points for site: see its tor's log",
        ),
        (
            replace(HEALTHY, exhausted=((SITE, 20_000),)),
            EXHAUSTED,
        ),
    ],
)
def test_one_thing_that_is_wrong_is_one_sentence(inputs: StatusInputs, sentence: str) -> None:
    assert [p for p in problems(inputs) if "HSDirs have not" not in p][:1] == [sentence]


def test_silent_node_is_not_blamed_for_what_it_said_before() -> None:
    gone = hearing(HEALTHY, BOB, heard(faults=("set the clock",), ago_s=60))
    assert problems(gone) == ["bob does not answer: start it, or see its log"]


def test_service_without_any_point_is_a_problem() -> None:
    empty = after([report(node) for node in (ADA, BOB, CYD, EVE)], founded())
    sentence = "site has no introduction points: no node's tor holds a circuit for it"
    assert sentence in problems(told_by(empty))


# --- services


def hsdirs_told(inputs: StatusInputs, slot: int = 0) -> dict[str, set[str]]:
    """The HSDirs' states with their details."""
    (service,) = status_document(inputs)["services"]
    found: dict[str, set[str]] = {}
    for hsdir in service["descriptors"][slot]["hsdirs"]:
        found.setdefault(hsdir["state"], set()).add(hsdir["detail"])
    return found


def test_published_service_is_told_with_both_descriptors() -> None:
    (service,) = status_document(HEALTHY)["services"]
    assert (service["name"], service["address"]) == ("site", str(SITE))
    assert (service["pool"], service["published"]) == (4, True)
    first, second = service["descriptors"]
    assert (first["slot"], second["slot"]) == ("first", "second")
    assert abs(first["period"] - second["period"]) == 1
    for descriptor in (first, second):
        assert (descriptor["revision"], descriptor["intro_points"]) == (7, 4)
        assert descriptor["published_at"] == "2026-03-01T15:30:00+00:00"
        assert descriptor["next_refresh_at"] == "2026-03-01T16:30:00+00:00"
        assert descriptor["next"] == "it is up to date"
        assert len(descriptor["hsdirs"]) == 8
    assert hsdirs_told(HEALTHY) == {"accepted": {""}}


def test_service_that_was_never_published_waits_for_its_first_round() -> None:
    inputs = told_by(founded())
    (service,) = status_document(inputs)["services"]
    assert service["published"] is False
    for descriptor in service["descriptors"]:
        nothing = ("revision", "published_at", "next_refresh_at")
        assert [descriptor[key] for key in nothing] == [None] * 3  # type: ignore[literal-required]
        assert descriptor["next"].startswith("gathering changes")
    assert hsdirs_told(inputs) == {"pending": {""}}
    assert sum("8 of 8 HSDirs have not accepted" in p for p in problems(inputs)) == 2


def test_hsdir_that_refused_is_told_with_its_reason() -> None:
    bad = plan(founded(), RINGS)[0].hsdirs[0]
    state = published(founded(), ALL - {bad}, {bad: "UPLOAD_REJECTED"})
    assert hsdirs_told(told_by(state)) == {"accepted": {""}, "failed": {"UPLOAD_REJECTED"}}
    assert any("1 of 8 HSDirs have not accepted the first" in p for p in problems(told_by(state)))


def test_hsdir_is_pending_again_when_something_else_is_wanted_of_it() -> None:
    changed = after([report(BOB, 2, 12)], published(founded()))
    assert hsdirs_told(told_by(changed)) == {"pending": {"holds the descriptor before this one"}}
    assert status_document(told_by(changed))["services"][0]["published"] is False


def test_withdrawn_point_makes_the_next_round_due_at_once() -> None:
    gone = after([report(BOB)], published(founded()))
    (service,) = status_document(told_by(gone))["services"]
    assert all(d["next"].startswith("due: ") for d in service["descriptors"])


def test_hsdir_that_is_newly_responsible_is_pending_and_the_others_keep_what_they_hold() -> None:
    state = published(founded())
    wanted = plan(state, RINGS)[0]
    newcomer = Fingerprint(bytes([77]) * 20)
    changed = replace(wanted, hsdirs=(newcomer, *wanted.hsdirs[1:]))
    inputs = replace(told_by(state), wanted=(changed,))
    assert hsdirs_told(inputs) == {"accepted": {""}, "pending": {""}}


def test_without_a_consensus_nothing_is_said_to_be_published() -> None:
    (service,) = status_document(replace(HEALTHY, wanted=(), has_consensus=False))["services"]
    assert (service["published"], service["descriptors"]) == (False, [])


def test_a_cluster_toml_that_says_otherwise_is_a_problem() -> None:
    other = replace(SEED, policy=Policy(settle_ms=5))
    document = status_document(replace(HEALTHY, seed=other))
    assert document["health"] == "degraded"
    assert any("publish.settle is 0.005, the cluster has 1.0" in p for p in document["problems"])


def with_blog() -> ClusterState:
    """The site as ever, and a blog for which each node holds one point more."""
    seed = replace(SEED, services={SITE: "site", BLOG: "blog"})
    reports = (
        report(node, 10 * number + service_number, service=service)
        for number, node in enumerate((ADA, BOB, CYD, EVE), start=1)
        for service_number, service in enumerate((SITE, BLOG))
    )
    return after([seed, TakeOffice(node=ADA, term=Term(1)), *reports])


def told_of_both(state: ClusterState) -> StatusInputs:
    return replace(told_by(state), seed=replace(SEED, services={SITE: "site", BLOG: "blog"}))


def test_two_services_are_told_apart() -> None:
    document = status_document(told_of_both(published(with_blog())))
    assert (document["health"], document["problems"]) == ("healthy", [])
    told = [(s["name"], s["address"], s["pool"], s["published"]) for s in document["services"]]
    assert sorted(told) == [("blog", str(BLOG), 4, True), ("site", str(SITE), 4, True)]
    for service in document["services"]:
        slots = [descriptor["slot"] for descriptor in service["descriptors"]]
        shown = [descriptor["intro_points"] for descriptor in service["descriptors"]]
        assert (slots, shown) == (["first", "second"], [4, 4])
    assert [(n["intro_points"], n["on_show"]) for n in document["nodes"]] == [(2, 2)] * 4


def test_what_one_of_two_services_lacks_is_said_of_that_one() -> None:
    changed = after([report(BOB, service=BLOG)], published(with_blog()))
    document = status_document(told_of_both(changed))
    assert document["health"] == "degraded"
    assert {s["name"]: s["published"] for s in document["services"]} == {
        "site": True,
        "blog": False,
    }
    assert "bob has no introduction points for blog: see its tor's log" in document["problems"]
    assert sum("blog: 8 of 8 HSDirs have not" in problem for problem in document["problems"]) == 2
    assert not [problem for problem in document["problems"] if "site" in problem]


def test_what_tor_warns_of_is_told_by_every_node() -> None:
    record = heard()
    tor = record.heartbeat.tor.model_copy(update={"warnings": ("its descriptor can't be opened",)})
    ailing = replace(record, heartbeat=record.heartbeat.model_copy(update={"tor": tor}))
    problems = status_document(hearing(HEALTHY, BOB, ailing))["problems"]
    assert "bob: its descriptor can't be opened" in problems
