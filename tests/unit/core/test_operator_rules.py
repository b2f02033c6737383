"""Operators' commands: transfer, drain, maintenance."""

from __future__ import annotations

import pytest

from rbcluster.core.commands import Command
from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState, Presence, Transfer
from tests.shared.builders import (
    ADA,
    BLOG,
    BOB,
    CYD,
    EVE,
    FOUNDED,
    IN_OFFICE,
    MALLORY,
    NOW,
    SHOP,
    after,
    drain,
    end_maintenance,
    end_transfer,
    maintenance,
    order_transfer,
    point,
    refusal,
    report,
    set_presence,
    take_office,
)

# --- transfer


def test_an_order_to_hand_over_stands_until_the_office_holder_ends_it() -> None:
    ordered = after([order_transfer(BOB)], IN_OFFICE)
    assert ordered.transfer == Transfer(to=BOB)
    assert after([order_transfer(None)], IN_OFFICE).transfer == Transfer(to=None)
    assert refusal(ordered, end_transfer(BOB, 1)) == "bob holds no office in term 1"
    assert after([end_transfer()], ordered).transfer is None


def test_an_order_to_hand_over_ends_with_the_office() -> None:
    assert after([order_transfer(BOB), take_office(CYD, 2)], IN_OFFICE).transfer is None


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (order_transfer(BOB, term=0), "the office has changed hands meanwhile"),
        (order_transfer(BOB, term=2), "the office has changed hands meanwhile"),
        (order_transfer(ADA), "ada leads already"),
        (order_transfer(EVE), "eve is no voter"),
        (order_transfer(CYD), "cyd is drained, soon to be stopped"),
        (order_transfer(MALLORY), "mallory is no member"),
    ],
)
def test_an_order_that_nobody_could_follow_is_refused(command: Command, rule: str) -> None:
    assert refusal(after([drain(CYD)], IN_OFFICE), command) == rule


def test_nobody_is_ordered_before_the_office_is_taken() -> None:
    assert refusal(FOUNDED, order_transfer()) == "the office has changed hands meanwhile"


# --- draining


def drained(state: ClusterState) -> set[NodeId]:
    return {member.node for member in state.members.values() if member.drained}


def test_a_node_is_drained_and_let_back() -> None:
    state = after([drain(CYD), drain(BOB)], IN_OFFICE)
    assert drained(state) == {CYD, BOB}
    assert drained(after([drain(CYD, drained=False)], state)) == {BOB}


def test_draining_what_is_drained_changes_nothing() -> None:
    state = after([drain(CYD)], IN_OFFICE)
    assert after([drain(CYD)], state) is state
    assert after([drain(BOB, drained=False)], state) is state


def test_a_drained_node_keeps_its_entries_in_the_pool() -> None:
    state = after([report(CYD, point(1)), report(ADA, point(2)), drain(CYD)], IN_OFFICE)
    assert (SHOP, CYD) in state.pool


def test_a_drained_node_that_falls_silent_stays_drained() -> None:
    absence: list[Command] = [
        set_presence(CYD, Presence.WITHDRAWN),
        set_presence(CYD, Presence.LIVE),
    ]
    assert drained(after([drain(CYD), *absence], IN_OFFICE)) == {CYD}


def test_the_last_node_on_show_is_not_drained_unless_forced() -> None:
    away: list[Command] = [set_presence(EVE, Presence.WITHDRAWN), drain(BOB), drain(ADA)]
    state = after(away, IN_OFFICE)
    assert refusal(state, drain(CYD)) == "no node would be left on show"
    assert drained(after([drain(CYD, force=True)], state)) == {ADA, BOB, CYD}


def test_a_service_keeps_a_node_on_show_unless_forced() -> None:
    state = after(
        [report(CYD, point(1)), report(ADA, point(2)), report(CYD, point(3), service=BLOG)],
        IN_OFFICE,
    )
    assert refusal(state, drain(CYD)) == "no node would be left on show for blog"
    assert drained(after([drain(ADA)], state)) == {ADA}  # blog loses nothing by it
    assert drained(after([drain(CYD, force=True)], state)) == {CYD}


def test_a_silent_or_drained_node_does_not_count_as_left() -> None:
    both: list[Command] = [report(CYD, point(1)), report(BOB, point(2))]
    silent = after([*both, set_presence(BOB, Presence.WITHDRAWN)], IN_OFFICE)
    for state in (silent, after([*both, drain(BOB)], IN_OFFICE)):
        assert refusal(state, drain(CYD)) == "no node would be left on show for shop"


def test_a_stranger_can_not_be_drained() -> None:
    assert refusal(IN_OFFICE, drain(MALLORY)) == "mallory is no member"


# --- maintenance


def test_maintenance_begins_is_moved_and_ends() -> None:
    state = after([maintenance(NOW + 1)], IN_OFFICE)
    assert state.maintenance_until == NOW + 1
    assert after([maintenance(NOW + 2)], state).maintenance_until == NOW + 2
    assert after([maintenance(None)], state).maintenance_until is None


def test_maintenance_ends_only_when_it_is_that_one_that_is_over() -> None:
    state = after([maintenance(NOW + 1), maintenance(NOW + 2)], IN_OFFICE)
    assert refusal(state, end_maintenance(NOW + 1)) == "that maintenance was changed meanwhile"
    assert after([end_maintenance(NOW + 2)], state).maintenance_until is None
    assert refusal(IN_OFFICE, end_maintenance()) == "that maintenance was changed meanwhile"


def test_maintenance_lasts_a_day_at_most() -> None:
    day_ms = 24 * 3_600_000
    assert after([maintenance(NOW + day_ms)], IN_OFFICE).maintenance_until == NOW + day_ms
    for until in (NOW + day_ms + 1, NOW):
        assert refusal(IN_OFFICE, maintenance(until)) == "a maintenance lasts at most 24 h"
