from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from rbcluster.core.apply import apply, apply_bytes
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, Command, Refused
from rbcluster.core.ids import NodeId, Term
from rbcluster.core.state import (
    ClusterState,
    Member,
    Office,
    Presence,
    Role,
)
from rbcluster.hs.intro_point import ServiceTraits
from tests.shared.builders import (
    ADA,
    BLOG,
    BOB,
    CYD,
    EVE,
    FOREIGN,
    FOUNDED,
    IN_OFFICE,
    MALLORY,
    NOW,
    ON_SHOW,
    SEED,
    SHOP,
    after,
    drain,
    end_maintenance,
    end_transfer,
    maintenance,
    order_transfer,
    point,
    raise_floor,
    record_round,
    refusal,
    report,
    reserve,
    set_presence,
    take_office,
)

# --- founding


def test_founding_enters_what_the_seed_says() -> None:
    assert FOUNDED.name == "demo"
    assert [*FOUNDED.members] == [ADA, BOB, CYD, EVE]
    assert FOUNDED.members[BOB] == SEED.members[1]
    assert FOUNDED.services == {SHOP: "shop", BLOG: "blog"}
    assert FOUNDED.policy == SEED.policy
    assert FOUNDED.office is None


def test_a_cluster_is_founded_once() -> None:
    assert refusal(FOUNDED, SEED) == "the cluster is founded already"


@pytest.mark.parametrize(
    "command",
    [
        take_office(),
        report(ADA, point(1)),
        set_presence(ADA, Presence.LIVE),
        reserve(1),
        raise_floor(1),
        record_round(1),
        order_transfer(),
        end_transfer(),
        drain(),
        maintenance(),
        end_maintenance(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_but_founding_is_taken_before_it(command: Command) -> None:
    assert refusal(ClusterState(), command) == "the cluster is not founded yet"


@pytest.mark.parametrize(
    ("seed", "rule"),
    [
        (replace(SEED, name=""), "a cluster needs a name"),
        (replace(SEED, members=()), "a cluster needs a voter"),
        (
            replace(SEED, members=tuple(replace(m, role=Role.LEARNER) for m in SEED.members)),
            "a cluster needs a voter",
        ),
        (
            replace(SEED, members=(*SEED.members, replace(SEED.members[0], address="other:1"))),
            "two members have one name",
        ),
        (
            replace(SEED, members=(*SEED.members, replace(SEED.members[0], node=MALLORY))),
            "two members have one address",
        ),
    ],
)
def test_a_seed_that_makes_no_cluster_is_refused(seed: Command, rule: str) -> None:
    assert refusal(ClusterState(), seed) == rule


# --- office


def test_a_voter_takes_office_in_a_new_term() -> None:
    assert after([take_office(BOB, 7)], FOUNDED).office == Office(node=BOB, term=Term(7))
    assert after([take_office(CYD, 2)], IN_OFFICE).office == Office(node=CYD, term=Term(2))


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (take_office(ADA, 1), "the office was taken in that term or later"),
        (take_office(BOB, 1), "the office was taken in that term or later"),
        (take_office(BOB, 0), "the office was taken in that term or later"),
        (take_office(EVE, 2), "only a voter may take office"),
        (take_office(MALLORY, 2), "mallory is no member"),
    ],
)
def test_office_is_refused_to_others_and_in_old_terms(command: Command, rule: str) -> None:
    assert refusal(IN_OFFICE, command) == rule


@pytest.mark.parametrize(
    "command",
    [
        set_presence(CYD, Presence.WITHDRAWN),
        reserve(5),
        raise_floor(5),
        record_round(4),
        end_transfer(),
        end_maintenance(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_deposed_office_holder_is_refused(command: Command) -> None:
    state = after([reserve(4), take_office(BOB, 2)], ON_SHOW)
    assert refusal(state, command) == "ada holds no office in term 1"


def test_nobody_holds_office_before_it_is_taken() -> None:
    assert refusal(FOUNDED, reserve(1)) == "ada holds no office in term 1"


def test_the_node_and_the_term_must_both_be_the_office_holders() -> None:
    assert refusal(IN_OFFICE, reserve(1, node=BOB)) == "bob holds no office in term 1"
    assert refusal(IN_OFFICE, reserve(1, term=2)) == "ada holds no office in term 2"


# --- introduction points


def test_a_report_enters_the_pool_without_its_descriptor() -> None:
    state = after([report(ADA, point(1), point(2))], FOUNDED)
    entry = state.pool[SHOP, ADA]
    assert entry.points == (point(1), point(2))
    assert entry.reported_at == NOW
    assert not hasattr(entry, "descriptor")


def test_a_report_replaces_that_nodes_last_one_and_no_other() -> None:
    state = after(
        [
            report(ADA, point(1)),
            report(BOB, point(2)),
            report(ADA, point(3), service=BLOG),
            report(ADA, point(4)),
        ],
        FOUNDED,
    )
    assert {key: entry.points for key, entry in state.pool.items()} == {
        (SHOP, ADA): (point(4),),
        (SHOP, BOB): (point(2),),
        (BLOG, ADA): (point(3),),
    }


def test_a_report_that_says_nothing_new_changes_nothing() -> None:
    state = after([report(ADA, point(1))], FOUNDED)
    assert apply(state, report(ADA, point(1), at=NOW + 1)) == (state, Applied())
    assert apply(state, report(ADA, point(1), at=NOW + 1))[0] is state


def test_other_traits_are_something_new() -> None:
    state = after([report(ADA, point(1))], FOUNDED)
    traits = ServiceTraits(flow_control=("1-2", 31))
    state = after([replace(report(ADA, point(1)), traits=traits)], state)
    assert state.pool[SHOP, ADA].traits == traits


def test_points_of_another_origin_are_something_new() -> None:
    state = after([report(ADA, point(1))], FOUNDED)
    assert state.pool[SHOP, ADA].origin == SHOP
    state = after([report(ADA, point(1), origin=FOREIGN)], state)
    assert state.pool[SHOP, ADA].origin == FOREIGN


def test_a_report_of_no_points_takes_the_entry_away() -> None:
    state = after([report(ADA, point(1)), report(BOB, point(2))], FOUNDED)
    assert [*after([report(ADA)], state).pool] == [(SHOP, BOB)]


def test_a_report_of_no_points_where_there_were_none_changes_nothing() -> None:
    assert apply(FOUNDED, report(ADA)) == (FOUNDED, Applied())


@pytest.mark.parametrize("num_points", [1, 20])
def test_a_node_may_report_up_to_twenty_points(num_points: int) -> None:
    state = after([report(ADA, *map(point, range(num_points)))], FOUNDED)
    assert len(state.pool[SHOP, ADA].points) == num_points


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (report(MALLORY, point(1)), "mallory is no member"),
        (report(ADA, point(1), service=FOREIGN), "that service is not the cluster's"),
        (report(ADA, *map(point, range(21))), "more than 20 points"),
        (report(ADA, point(1), point(2, key=1)), "one introduction point is named twice"),
        (
            report(ADA, point(1), origin=BLOG),
            "points of one service do not answer for another",
        ),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused(command: Command, rule: str) -> None:
    assert refusal(FOUNDED, command) == rule


# --- presence


def test_the_office_holder_withdraws_a_node_and_brings_it_back() -> None:
    gone = after([set_presence(BOB, Presence.WITHDRAWN)], IN_OFFICE)
    assert gone.members[BOB] == replace(FOUNDED.members[BOB], presence=Presence.WITHDRAWN)
    assert after([set_presence(BOB, Presence.LIVE)], gone) == IN_OFFICE


def test_presence_that_is_so_already_changes_nothing() -> None:
    state, verdict = apply(IN_OFFICE, set_presence(BOB, Presence.LIVE))
    assert state is IN_OFFICE
    assert verdict == Applied()


def test_only_a_members_presence_is_known() -> None:
    assert refusal(IN_OFFICE, set_presence(MALLORY, Presence.LIVE)) == "mallory is no member"


# --- bytes


def test_an_encoded_command_does_what_the_command_does() -> None:
    for command in (take_office(BOB, 2), take_office(BOB, 0)):
        assert apply_bytes(IN_OFFICE, encode_command(command)) == apply(IN_OFFICE, command)


@pytest.mark.parametrize("data", [b"", b"\x00", b"garbage"])
def test_bytes_that_are_no_command_are_refused_and_change_nothing(data: bytes) -> None:
    state, verdict = apply_bytes(IN_OFFICE, data)
    assert state is IN_OFFICE
    assert isinstance(verdict, Refused)


def test_even_a_mistake_of_ours_ends_as_a_refusal() -> None:
    broken = cast("ClusterState", None)
    state, verdict = apply_bytes(broken, encode_command(take_office()))
    assert state is broken
    assert verdict == Refused("internal error: AttributeError")


def test_running_out_of_memory_is_no_verdict() -> None:
    """Refused on this node alone, the command would leave it with another state than the others."""

    class TooLarge(dict[NodeId, Member]):
        def get(self, *_: object) -> Member:
            raise MemoryError

    with pytest.raises(MemoryError):
        apply_bytes(replace(FOUNDED, members=TooLarge()), encode_command(take_office()))


def test_a_withdrawn_node_is_forgotten_and_must_report_afresh() -> None:
    pooled = after([report(ADA, point(1)), report(BOB, point(2))], IN_OFFICE)
    gone = after([set_presence(ADA, Presence.WITHDRAWN)], pooled)
    back = after([set_presence(ADA, Presence.LIVE)], gone)
    assert {node for _, node in gone.pool} == {node for _, node in back.pool} == {BOB}
