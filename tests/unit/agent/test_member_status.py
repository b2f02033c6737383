from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rbcluster.agent.member_status import (
    certificate_problem,
    founding_notes,
    voter_notes,
    wish_problem,
)
from rbcluster.core.ids import NodeId
from rbcluster.core.state import Member, Role, Wish

A, B, C = (NodeId(name) for name in "abc")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def member(role: Role, wish: Wish) -> Member:
    return Member(node=B, address="b:1", role=role, wish=wish)


@pytest.mark.parametrize(("voters", "is_said"), [((A,), False), ((A, B), True), ((A, B, C), False)])
def test_two_voters_are_told_what_they_are_worth(voters: tuple[NodeId, ...], is_said: bool) -> None:
    notes = list(voter_notes(voters))
    assert bool(notes) is is_said
    assert all("two voters tolerate no failure" in note for note in notes)


@pytest.mark.parametrize(
    ("named", "voters", "is_said"),
    [((A,), (A,), False), ((A,), (A, B), True), ((A, B), (A, B, C), False)],
)
def test_a_file_with_which_a_wiped_founder_would_meet_nobody_is_noted(
    named: tuple[NodeId, ...], voters: tuple[NodeId, ...], is_said: bool
) -> None:
    notes = list(founding_notes(named, voters))
    assert bool(notes) is is_said
    assert all("names no voter but a: if a lost its disk" in note for note in notes)


@pytest.mark.parametrize(("role", "wish"), [(Role.VOTER, Wish.VOTER), (Role.LEARNER, Wish.LEARNER)])
def test_who_is_what_it_is_to_be_is_no_problem(role: Role, wish: Wish) -> None:
    assert wish_problem(member(role, wish), {}) is None


@pytest.mark.parametrize(
    ("role", "wish", "said"),
    [
        (Role.LEARNER, Wish.VOTER, "b is to get a vote: why not"),
        (Role.VOTER, Wish.LEARNER, "b is to lose its vote: why not"),
        (Role.VOTER, Wish.GONE, "b is to be removed: why not"),
    ],
)
def test_what_a_wish_waits_for_is_said(role: Role, wish: Wish, said: str) -> None:
    assert wish_problem(member(role, wish), {B: "why not"}) == said
    under_way = wish_problem(member(role, wish), {B: None})
    assert under_way == said.replace("why not", "that is under way")


@pytest.mark.parametrize(("days", "word"), [(31, None), (30, "ends"), (0, "ended"), (-1, "ended")])
def test_a_certificate_is_spoken_of_thirty_days_ahead(days: int, word: str | None) -> None:
    said = certificate_problem(B, NOW + timedelta(days=days), NOW)
    assert (said is None) if word is None else f"its certificate {word} 2026-" in str(said)
    assert certificate_problem(B, None, NOW) is None
