from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from rbcluster.core.apply import MAX_FLOOR, MAX_REVISION_STEP, apply, apply_bytes
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, Command, Refused
from rbcluster.core.ids import NodeId, Term, UnixMs
from rbcluster.core.state import (
    ClusterState,
    Member,
    Office,
    Policy,
    Presence,
    Publication,
    Role,
)
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.time_period import TimePeriod
from tests.shared.builders import (
    ADA,
    BLOG,
    BOB,
    CYD,
    EVE,
    FOREIGN,
    FOUNDED,
    HSDIRS,
    IN_OFFICE,
    MALLORY,
    NOW,
    SEED,
    SHOP,
    after,
    drain,
    end_maintenance,
    end_transfer,
    maintenance,
    order_transfer,
    period,
    point,
    raise_floor,
    record_round,
    refusal,
    report,
    reserve,
    set_presence,
    take_office,
)


def publication(state: ClusterState, number: int = 20_000) -> Publication:
    return state.publications[SHOP, number]


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
    state = after([reserve(4), take_office(BOB, 2)], IN_OFFICE)
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


# --- reservations


def test_a_reservation_raises_the_floor_and_spends_a_token() -> None:
    command = reserve(7)
    known = publication(after([command], IN_OFFICE))
    assert known.reservation == command.reservation
    assert known.floor == 7
    assert known.budget.millitokens == 4_000
    assert known.finished_at is None


def test_a_new_reservation_forgets_how_the_last_round_ended() -> None:
    state = after(
        [reserve(7), record_round(7, accepted=HSDIRS[:1], refused=HSDIRS[1:2]), reserve(8)],
        IN_OFFICE,
    )
    known = publication(state)
    assert (known.accepted, known.refused) == (frozenset(), {})
    assert (known.finished_at, known.refresh_at) == (None, None)


@pytest.mark.parametrize(
    ("revision", "rule"),
    [
        (0, "revision 0 is not above the floor 9"),
        (9, "revision 9 is not above the floor 9"),
        (10, None),
        (9 + MAX_REVISION_STEP, None),
        (10 + MAX_REVISION_STEP, "is more than 2^34 above the floor 9"),
    ],
)
def test_a_revision_is_above_the_floor_by_at_most_a_step(revision: int, rule: str | None) -> None:
    state, command = after([reserve(9)], IN_OFFICE), reserve(revision)
    _, verdict = apply(state, command)
    assert (rule is None) == (verdict == Applied())
    assert rule is None or rule in refusal(state, command)


def test_services_and_periods_have_floors_of_their_own() -> None:
    state = after([reserve(9), reserve(1, number=20_001), reserve(1, service=BLOG)], IN_OFFICE)
    assert {key: known.floor for key, known in state.publications.items()} == {
        (SHOP, 20_000): 9,
        (SHOP, 20_001): 1,
        (BLOG, 20_000): 1,
    }


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (reserve(1, service=FOREIGN), "that service is not the cluster's"),
        (reserve(1, points=()), "a descriptor without introduction points is not published"),
        (reserve(1, points=[*map(point, range(21))]), "more than 20 introduction points"),
        (reserve(1, points=[point(1), point(1)]), "one introduction point is named twice"),
        (reserve(1, hsdirs=()), "no HSDir is named"),
        (reserve(1, hsdirs=HSDIRS[:1] * 2), "one HSDir is named twice"),
        (
            replace(reserve(1), reservation=replace(reserve(1).reservation, digest=bytes(31))),
            "the digest is not 32 bytes",
        ),
    ],
)
def test_a_reservation_that_breaks_a_rule_is_refused(command: Command, rule: str) -> None:
    assert refusal(IN_OFFICE, command) == rule


def test_the_policy_limits_the_points_of_a_reservation() -> None:
    state = replace(IN_OFFICE, policy=Policy(max_intro_points=1))
    assert refusal(state, reserve(1)) == "more than 1 introduction points"
    assert after([reserve(1, points=[point(1)])], state).publications


def test_the_budget_refuses_additions_before_withdrawals() -> None:
    state = after([reserve(revision) for revision in (1, 2, 3)], IN_OFFICE)
    assert refusal(state, reserve(4)) == "the upload budget is spent"
    state = after([reserve(4, is_withdrawal=True), reserve(5, is_withdrawal=True)], state)
    assert refusal(state, reserve(6, is_withdrawal=True)) == "the upload budget is spent"
    assert after([reserve(6, is_withdrawal=True, at=NOW + 10_000)], state)


# --- floors


@pytest.mark.parametrize("floor", [1, MAX_REVISION_STEP + 1, MAX_FLOOR])
def test_a_floor_rises_to_whatever_an_hsdir_holds(floor: int) -> None:
    known = publication(after([raise_floor(floor)], IN_OFFICE))
    assert known.floor == floor
    assert known.reservation is None
    assert known.budget.millitokens == 5_000


@pytest.mark.parametrize("floor", [0, 9, MAX_FLOOR + 1])
def test_a_floor_neither_falls_nor_leaves_no_room(floor: int) -> None:
    state = after([reserve(9)], IN_OFFICE)
    assert refusal(state, raise_floor(floor)).startswith(f"floor {floor} is not above 9, or")


def test_a_raised_floor_keeps_the_reservation_and_stands_above_it() -> None:
    state = after([reserve(7), raise_floor(9)], IN_OFFICE)
    known = publication(state)
    assert known.reservation == reserve(7).reservation
    assert known.floor == 9
    assert refusal(state, reserve(9)) == "revision 9 is not above the floor 9"


def test_a_floor_of_a_foreign_service_is_refused() -> None:
    rule = refusal(IN_OFFICE, raise_floor(1, service=FOREIGN))
    assert rule == "that service is not the cluster's"


# --- rounds


def test_the_hsdirs_that_accepted_add_up_and_those_that_refused_are_replaced() -> None:
    one, two, three, _ = HSDIRS
    state = after(
        [
            reserve(7),
            record_round(7, accepted=[one], refused=[two, three]),
            record_round(7, accepted=[two], refused=[one, three]),
        ],
        IN_OFFICE,
    )
    known = publication(state)
    assert known.accepted == {one, two}
    assert known.refused == {three: "UPLOAD_REJECTED"}
    assert (known.finished_at, known.refresh_at) == (NOW + 500, NOW + 5_000_000)


def test_the_next_office_holder_may_record_what_the_last_one_reserved() -> None:
    state = after(
        [reserve(7), take_office(BOB, 2), record_round(7, accepted=HSDIRS, node=BOB, term=2)],
        IN_OFFICE,
    )
    assert publication(state).accepted == frozenset(HSDIRS)


def test_a_round_is_recorded_though_the_floor_was_raised_since() -> None:
    state = after([reserve(7), raise_floor(9), record_round(7, accepted=HSDIRS[:1])], IN_OFFICE)
    assert publication(state).accepted == {HSDIRS[0]}


@pytest.mark.parametrize(
    "command",
    [
        record_round(6),
        record_round(8),
        record_round(7, number=20_001),
        record_round(9, service=BLOG),
        replace(record_round(7), period=TimePeriod(number=20_000, length_min=60)),
    ],
)
def test_only_the_round_of_the_last_reservation_is_recorded(command: Command) -> None:
    state = after([reserve(7), raise_floor(9, service=BLOG)], IN_OFFICE)
    assert refusal(state, command) == "that revision is not the one reserved last"


@pytest.mark.parametrize("answer", [{"accepted": [HSDIRS[3]]}, {"refused": [HSDIRS[3]]}])
def test_only_hsdirs_of_the_reservation_can_have_answered(
    answer: dict[str, list[object]],
) -> None:
    state = after([reserve(7, hsdirs=HSDIRS[:3])], IN_OFFICE)
    command = record_round(7, **answer)  # type: ignore[arg-type]
    assert refusal(state, command) == "an HSDir answered that was not asked"


# --- periods


def test_periods_more_than_two_below_the_newest_are_forgotten() -> None:
    state = after(
        [reserve(1, number=number) for number in (20_000, 20_001, 20_002)]
        + [reserve(1, service=BLOG), reserve(1, number=20_003)],
        IN_OFFICE,
    )
    assert [*state.publications] == [
        (SHOP, 20_001),
        (SHOP, 20_002),
        (BLOG, 20_000),
        (SHOP, 20_003),
    ]


@pytest.mark.parametrize("command", [reserve(9), raise_floor(9)])
def test_a_forgotten_period_does_not_come_back_with_a_lower_floor(command: Command) -> None:
    state = after([reserve(99), reserve(1, number=20_003)], IN_OFFICE)
    assert refusal(state, command) == "that period is more than 2 below the newest"


def test_a_period_is_refused_under_another_length() -> None:
    state = after([reserve(1)], IN_OFFICE)
    shorter = replace(reserve(2), period=TimePeriod(number=20_000, length_min=60))
    assert refusal(state, shorter) == "that period has another length"


def test_periods_of_another_length_are_compared_by_when_they_are() -> None:
    # 20,000 days and 480,000 hours after the epoch are the same instant.
    hours = [
        replace(reserve(1), period=TimePeriod(number=480_000 + hour, length_min=60))
        for hour in (0, 3)
    ]
    state = after([reserve(1, number=19_999), reserve(1), *hours], IN_OFFICE)
    assert [number for _, number in state.publications] == [480_003]
    assert refusal(state, reserve(1, number=20_000)) == (
        "that period is more than 2 below the newest"
    )
    assert after([reserve(1, number=20_001)], state).publications[SHOP, 20_001].period == period(
        20_001
    )


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


def test_instants_do_not_order_commands() -> None:
    state = after([reserve(1, at=NOW), reserve(2, at=UnixMs(NOW - 5_000))], IN_OFFICE)
    assert publication(state).floor == 2


def test_a_withdrawn_node_is_forgotten_and_must_report_afresh() -> None:
    pooled = after([report(ADA, point(1)), report(BOB, point(2))], IN_OFFICE)
    gone = after([set_presence(ADA, Presence.WITHDRAWN)], pooled)
    back = after([set_presence(ADA, Presence.LIVE)], gone)
    assert {node for _, node in gone.pool} == {node for _, node in back.pool} == {BOB}
