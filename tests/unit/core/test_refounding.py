from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.core.apply import apply
from rbcluster.core.commands import Applied, TakeOffice
from rbcluster.core.ids import ClusterId, Incarnation, Term, UnixMs
from rbcluster.core.membership import voters_of
from rbcluster.core.refounding import refounded
from rbcluster.core.rules import RuleBrokenError
from rbcluster.core.state import ClusterState, Invitation, Role, Transfer, Wish
from tests.shared.builders import ADA, BOB, CYD, EVE, FOUNDED, MALLORY

NEW, DRAWN = ClusterId(b"n" * 16), Incarnation(b"d" * 16)


def begun(state: ClusterState) -> ClusterState:
    return refounded(state, cluster=NEW, node=BOB, incarnation=DRAWN)


def test_one_node_votes_and_the_others_are_to_be_what_they_were_to_be() -> None:
    member = FOUNDED.members[CYD]
    leaving = {**FOUNDED.members, CYD: replace(member, wish=Wish.GONE)}
    state = begun(replace(FOUNDED, members=leaving))
    assert voters_of(state.members) == {BOB: DRAWN}
    assert {node: each.wish for node, each in state.members.items()} == {
        ADA: Wish.VOTER,
        BOB: Wish.VOTER,
        CYD: Wish.GONE,
        EVE: FOUNDED.members[EVE].wish,
    }
    assert state.cluster_id == NEW


@pytest.mark.parametrize("wish", list(Wish))
def test_the_node_that_begins_stays_whatever_it_was_to_be(wish: Wish) -> None:
    member = replace(FOUNDED.members[BOB], wish=wish, role=Role.LEARNER)
    state = begun(replace(FOUNDED, members={**FOUNDED.members, BOB: member}))
    assert (state.members[BOB].role, state.members[BOB].wish) == (Role.VOTER, Wish.VOTER)


def test_what_was_agreed_on_goes_on_and_what_was_under_way_ends() -> None:
    invited = {bytes(32): Invitation(expires_at=UnixMs(1), role=Wish.VOTER)}
    state = replace(FOUNDED, transfer=Transfer(to=None), invitations=invited)
    new = begun(state)
    assert (new.transfer, dict(new.invitations)) == (None, {})
    assert (new.services, new.policy) == (state.services, state.policy)
    _, verdict = apply(new, TakeOffice(node=BOB, term=Term(10**6)))
    assert isinstance(verdict, Applied)


@pytest.mark.parametrize(
    ("state", "node", "cluster", "rule"),
    [
        (ClusterState(), BOB, NEW, "it holds no cluster"),
        (FOUNDED, MALLORY, NEW, "mallory"),
        (replace(FOUNDED, cluster_id=NEW), BOB, NEW, "an id of its own"),
    ],
)
def test_a_cluster_is_begun_only_from_one_and_by_one_of_its_members(
    state: ClusterState, node: object, cluster: ClusterId, rule: str
) -> None:
    with pytest.raises(RuleBrokenError, match=rule):
        refounded(state, cluster=cluster, node=node, incarnation=DRAWN)  # type: ignore[arg-type]
