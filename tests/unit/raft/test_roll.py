"""Who is who, and whom to link with, when the sources disagree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.core.state import Member, Role
from rbcluster.raft.frames import FrameError
from rbcluster.raft.roll import Hint, Roll, Standing

A, B, C, D = (NodeId(name) for name in "abcd")
OLD, NEW = Incarnation(b"o" * 16), Incarnation(b"n" * 16)


def members(*nodes: NodeId, role: Role = Role.VOTER) -> dict[NodeId, Member]:
    return {node: Member(node=node, address=f"{node}.example:1", role=role) for node in nodes}


ROLL = Roll(
    node=B,
    votes=True,
    configuration={A: OLD, B: OLD},
    configured_at=5,
    told={A: ("told", 1), C: ("told", 3)},
    members=members(A, B, C),
)


def test_a_voter_is_a_name_and_a_storage() -> None:
    assert ROLL.standing(A, OLD) is Standing.VOTER
    assert ROLL.standing(A, NEW) is Standing.STRANGER
    assert ROLL.standing(C, NEW) is Standing.LEARNER


def test_a_voter_of_a_static_cluster_is_a_name() -> None:
    assert replace(ROLL, configuration={A: None}).standing(A, NEW) is Standing.VOTER


def test_a_newer_hint_lets_a_voter_speak_and_no_older_one_does() -> None:
    hint = Hint(6, {A: NEW, D: OLD}, {D: ("d", 4)})
    hinted = replace(ROLL, hint=hint)
    assert hinted.standing(D, OLD) is Standing.NEWER
    assert hinted.standing(A, NEW) is Standing.NEWER
    assert hinted.standing(A, OLD) is Standing.VOTER
    assert hinted.addresses[D] == ("d", 4)
    stale = replace(hinted, configured_at=6)
    assert stale.standing(D, OLD) is Standing.LEARNER
    assert stale.addresses[D] == ("d", 4)  # the log may name it before the state does


def test_members_go_before_what_a_node_was_told_at_its_start() -> None:
    assert ROLL.addresses == {A: ("a.example", 1), C: ("c.example", 1)}
    assert replace(ROLL, members={}).addresses == {A: ("told", 1), C: ("told", 3)}


def test_of_each_pair_the_first_by_name_dials_and_learners_are_not_linked() -> None:
    assert set(ROLL.dialled) == {C}
    assert set(replace(ROLL, votes=False, configuration={A: OLD}).dialled) == set()
    assert set(replace(ROLL, node=A, votes=False, configuration={B: OLD}).dialled) == {B}


def test_who_knows_no_voter_looks_for_one() -> None:
    lost = replace(ROLL, node=A, votes=False, configuration={}, configured_at=0)
    assert set(lost.dialled) == {B, C}


def test_what_a_node_says_of_the_voters_comes_back() -> None:
    said = ROLL.tell()
    assert (said.index, said.voters) == (5, ROLL.configuration)
    assert Hint.from_wire(said.to_wire()) == said


@pytest.mark.parametrize(
    "payload",
    [
        None,
        (1,),
        (-1, ()),
        (2**60, ()),
        (1, (("a", None, "h", 1),) * 17),
        (1, (("a", None, "h"),)),
        (1, (("A b", None, "h", 1),)),
        (1, (("a", b"short", "h", 1),)),
        (1, (("a", None, "h", 0),)),
        (1, (("a", None, "ho st", 1),)),
        (1, (("a", None, "h", "1"),)),
    ],
)
def test_a_malformed_hint_is_refused(payload: object) -> None:
    with pytest.raises(FrameError, match="malformed"):
        Hint.from_wire(payload)
