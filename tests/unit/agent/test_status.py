"""The status document: true, complete, and with a sentence for everything that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.agent.heartbeat import TorSummary
from rbcluster.agent.status import StatusInputs, status_document
from rbcluster.agent.status_document import EXIT_CODES
from rbcluster.core.codec import state_digest
from rbcluster.core.commands import (
    SetDrained,
    SetMaintenance,
    SetPresence,
)
from rbcluster.core.ids import NodeId, Term, UnixMs
from rbcluster.core.state import ClusterState, Presence, Role, Wish
from rbcluster.lab.cluster import is_without
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.view import Role as RaftRole
from tests.shared.builders import after
from tests.unit.agent.status_world import (
    DOCUMENT,
    EVE,
    HEALTHY,
    NOW_MS,
    SEED,
    UNFOUNDED,
    VIEW,
    WELL,
    founded,
    heard,
    hearing,
    problems,
    published,
    report,
    told_by,
    told_of,
    without,
)
from tests.unit.agent.world import ADA, BOB, CYD, SITE


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


def test_strangers_are_told_by_what_became_of_them_and_are_no_problem() -> None:
    num = {why: number for number, why in enumerate(TurnedAway)}
    document = status_document(replace(HEALTHY, num_turned_away=num))
    assert document["turned_away"] == {
        "crowded": 0,
        "silent": 1,
        "broken": 2,
        "tls": 3,
        "misfit": 4,
    }
    assert document["health"] == "healthy"


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
            ADA: replace(HEALTHY.state.members[ADA], role=Role.LEARNER, wish=Wish.LEARNER),
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


def test_dead_control_port_is_one_problem_and_not_what_follows_from_it() -> None:
    fault = "tor's control port does not answer"
    tor = TorSummary(connected=False, version=None, bootstrapped=None)
    ailing = WELL.model_copy(update={"faults": (fault,), "tor": tor})
    state = after([report(ADA)], founded())
    inputs = replace(told_by(state), wanted=(), has_consensus=False, own_heartbeat=ailing)
    assert problems(inputs) == [f"ada could not publish: {fault}"]


def test_what_is_wrong_with_a_node_comes_before_what_this_one_can_not_tell() -> None:
    inputs = hearing(HEALTHY, BOB, heard(faults=("set the clock",)))
    assert problems(replace(inputs, wanted=(), has_consensus=False)) == [
        "bob could not publish: set the clock",
        "ada: its tor has no consensus yet, so this node can't tell what is wanted",
    ]


def test_a_node_that_is_refused_for_its_older_disk_is_named_with_the_remedy() -> None:
    refusing = replace(HEALTHY, view=replace(HEALTHY.view, set_back=frozenset({BOB})))
    (found,) = problems(refusing)
    assert found.startswith("bob is refused: its disk was set back (")
    assert found.endswith("so it may have forgotten votes: rbcluster reset-node there")


def test_silent_node_is_not_blamed_for_what_it_said_before() -> None:
    gone = hearing(HEALTHY, BOB, heard(faults=("set the clock",), ago_s=60))
    assert problems(gone) == ["bob does not answer: start it, or see its log"]


def test_service_without_any_point_is_a_problem() -> None:
    empty = after([report(node) for node in (ADA, BOB, CYD, EVE)], founded())
    sentence = "site has no introduction points: no node's tor holds a circuit for it"
    found = problems(told_by(empty))
    assert sentence in found
    assert not any("HSDirs have not accepted" in problem for problem in found)
