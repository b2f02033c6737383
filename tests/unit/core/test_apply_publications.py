"""apply on what is published: reservations, floors, rounds, time periods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.core.apply import MAX_FLOOR, MAX_REVISION_STEP, apply
from rbcluster.core.commands import Applied, Command
from rbcluster.core.ids import UnixMs
from rbcluster.core.state import (
    ClusterState,
    Policy,
    Presence,
    Publication,
)
from rbcluster.hs.time_period import TimePeriod
from tests.shared.builders import (
    BLOG,
    BOB,
    CYD,
    FOREIGN,
    HSDIRS,
    NOW,
    ON_SHOW,
    SHOP,
    after,
    drain,
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


# --- reservations


def test_a_reservation_raises_the_floor_and_spends_a_token() -> None:
    command = reserve(7)
    known = publication(after([command], ON_SHOW))
    assert known.reservation == command.reservation
    assert known.floor == 7
    assert known.budget.millitokens == 4_000
    assert known.finished_at is None


def test_a_new_reservation_forgets_how_the_last_round_ended() -> None:
    state = after(
        [reserve(7), record_round(7, accepted=HSDIRS[:1], refused=HSDIRS[1:2]), reserve(8)],
        ON_SHOW,
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
    state, command = after([reserve(9)], ON_SHOW), reserve(revision)
    _, verdict = apply(state, command)
    assert (rule is None) == (verdict == Applied())
    assert rule is None or rule in refusal(state, command)


def test_services_and_periods_have_floors_of_their_own() -> None:
    state = after([reserve(9), reserve(1, number=20_001), reserve(1, service=BLOG)], ON_SHOW)
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
    assert refusal(ON_SHOW, command) == rule


@pytest.mark.parametrize(
    "meanwhile",
    [
        set_presence(CYD, Presence.WITHDRAWN),
        drain(CYD, force=True),
        report(CYD),
        report(CYD, point(1), point(3)),
    ],
    ids=["withdrawn", "drained", "nothing left", "another point"],
)
def test_points_that_went_while_it_was_proposed_are_not_reserved(meanwhile: Command) -> None:
    state = after([meanwhile], ON_SHOW)
    rule = "an introduction point is named that nobody on show holds"
    assert refusal(state, reserve(1)) == rule


def test_points_of_another_service_are_not_reserved() -> None:
    state = after([report(CYD, service=SHOP)], ON_SHOW)
    rule = "an introduction point is named that nobody on show holds"
    assert refusal(state, reserve(1)) == rule
    assert after([reserve(1, service=BLOG)], state).publications


def test_the_policy_limits_the_points_of_a_reservation() -> None:
    state = replace(ON_SHOW, policy=Policy(max_intro_points=1))
    assert refusal(state, reserve(1)) == "more than 1 introduction points"
    assert after([reserve(1, points=[point(1)])], state).publications


def test_the_budget_refuses_additions_before_withdrawals() -> None:
    state = after([reserve(revision) for revision in (1, 2, 3)], ON_SHOW)
    assert refusal(state, reserve(4)) == "the upload budget is spent"
    state = after([reserve(4, is_withdrawal=True), reserve(5, is_withdrawal=True)], state)
    assert refusal(state, reserve(6, is_withdrawal=True)) == "the upload budget is spent"
    assert after([reserve(6, is_withdrawal=True, at=NOW + 10_000)], state)


def test_instants_do_not_order_commands() -> None:
    state = after([reserve(1, at=NOW), reserve(2, at=UnixMs(NOW - 5_000))], ON_SHOW)
    assert publication(state).floor == 2


# --- floors


@pytest.mark.parametrize("floor", [1, MAX_REVISION_STEP + 1, MAX_FLOOR])
def test_a_floor_rises_to_whatever_an_hsdir_holds(floor: int) -> None:
    known = publication(after([raise_floor(floor)], ON_SHOW))
    assert known.floor == floor
    assert known.reservation is None
    assert known.budget.millitokens == 5_000


@pytest.mark.parametrize("floor", [0, 9, MAX_FLOOR + 1])
def test_a_floor_neither_falls_nor_leaves_no_room(floor: int) -> None:
    state = after([reserve(9)], ON_SHOW)
    assert refusal(state, raise_floor(floor)).startswith(f"floor {floor} is not above 9, or")


def test_a_raised_floor_keeps_the_reservation_and_stands_above_it() -> None:
    state = after([reserve(7), raise_floor(9)], ON_SHOW)
    known = publication(state)
    assert known.reservation == reserve(7).reservation
    assert known.floor == 9
    assert refusal(state, reserve(9)) == "revision 9 is not above the floor 9"


def test_a_floor_of_a_foreign_service_is_refused() -> None:
    rule = refusal(ON_SHOW, raise_floor(1, service=FOREIGN))
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
        ON_SHOW,
    )
    known = publication(state)
    assert known.accepted == {one, two}
    assert known.refused == {three: "UPLOAD_REJECTED"}
    assert (known.finished_at, known.refresh_at) == (NOW + 500, NOW + 5_000_000)


def test_the_next_office_holder_may_record_what_the_last_one_reserved() -> None:
    state = after(
        [reserve(7), take_office(BOB, 2), record_round(7, accepted=HSDIRS, node=BOB, term=2)],
        ON_SHOW,
    )
    assert publication(state).accepted == frozenset(HSDIRS)


def test_a_round_is_recorded_though_the_floor_was_raised_since() -> None:
    state = after([reserve(7), raise_floor(9), record_round(7, accepted=HSDIRS[:1])], ON_SHOW)
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
    state = after([reserve(7), raise_floor(9, service=BLOG)], ON_SHOW)
    assert refusal(state, command) == "that revision is not the one reserved last"


@pytest.mark.parametrize("answer", [{"accepted": [HSDIRS[3]]}, {"refused": [HSDIRS[3]]}])
def test_only_hsdirs_of_the_reservation_can_have_answered(
    answer: dict[str, list[object]],
) -> None:
    state = after([reserve(7, hsdirs=HSDIRS[:3])], ON_SHOW)
    command = record_round(7, **answer)  # type: ignore[arg-type]
    assert refusal(state, command) == "an HSDir answered that was not asked"


# --- periods


def test_periods_more_than_two_below_the_newest_are_forgotten() -> None:
    state = after(
        [reserve(1, number=number) for number in (20_000, 20_001, 20_002)]
        + [reserve(1, service=BLOG), reserve(1, number=20_003)],
        ON_SHOW,
    )
    assert [*state.publications] == [
        (SHOP, 20_001),
        (SHOP, 20_002),
        (BLOG, 20_000),
        (SHOP, 20_003),
    ]


@pytest.mark.parametrize("command", [reserve(9), raise_floor(9)])
def test_a_forgotten_period_does_not_come_back_with_a_lower_floor(command: Command) -> None:
    state = after([reserve(99), reserve(1, number=20_003)], ON_SHOW)
    assert refusal(state, command) == "that period is more than 2 below the newest"


def test_a_period_is_refused_under_another_length() -> None:
    state = after([reserve(1)], ON_SHOW)
    shorter = replace(reserve(2), period=TimePeriod(number=20_000, length_min=60))
    assert refusal(state, shorter) == "that period has another length"


def test_periods_of_another_length_are_compared_by_when_they_are() -> None:
    # 20,000 days and 480,000 hours after the epoch are the same instant.
    hours = [
        replace(reserve(1), period=TimePeriod(number=480_000 + hour, length_min=60))
        for hour in (0, 3)
    ]
    state = after([reserve(1, number=19_999), reserve(1), *hours], ON_SHOW)
    assert [number for _, number in state.publications] == [480_003]
    assert refusal(state, reserve(1, number=20_000)) == (
        "that period is more than 2 below the newest"
    )
    assert after([reserve(1, number=20_001)], state).publications[SHOP, 20_001].period == period(
        20_001
    )
