"""Which greetings show that a disk was set back."""

from __future__ import annotations

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.raft.frames import Hello
from rbcluster.raft.set_back import Witness

A, B = NodeId("a"), NodeId("b")
OLD, NEW = Incarnation(b"o" * 16), Incarnation(b"n" * 16)


def hello(term: int, last_index: int, incarnation: Incarnation = OLD) -> Hello:
    return Hello(
        node=B,
        cluster=ClusterId(bytes(16)),
        incarnation=incarnation,
        is_founded=True,
        term=term,
        last_index=last_index,
    )


@pytest.mark.parametrize(
    ("term", "last_index", "is_set_back"),
    [
        (5, 20, False),
        (5, 21, False),
        (5, 19, True),  # it acknowledged 20 in this term
        (4, 20, True),
        (4, 99, True),
        (6, 12, False),  # a new leader cut its log
    ],
)
def test_a_storage_holds_what_it_acknowledged_as_long_as_the_term_lasts(
    term: int, last_index: int, is_set_back: bool
) -> None:
    witness = Witness()
    witness.greet(B, hello(5, 10))
    witness.heed(B, (5, 20))
    witness.heed(B, (5, 15))
    witness.greet(B, hello(term, last_index))
    assert witness.is_set_back(B) is is_set_back


def test_what_a_log_held_unasked_may_be_cut_in_the_same_term() -> None:
    witness = Witness()
    witness.greet(B, hello(5, 30))
    witness.greet(B, hello(5, 20))
    assert not witness.is_set_back(B)


def test_what_was_forgotten_is_not_learnt_again() -> None:
    witness = Witness()
    for term in (5, 4, 6):
        witness.greet(B, hello(term, 10))
    assert witness.is_set_back(B)


def test_another_storage_owes_nothing() -> None:
    witness = Witness()
    for term, incarnation in ((5, OLD), (4, OLD), (0, NEW)):
        witness.greet(B, hello(term, 1, incarnation))
    assert not witness.is_set_back(B)


def test_who_is_no_member_any_more_is_forgotten() -> None:
    witness = Witness()
    witness.greet(B, hello(5, 10))
    witness.keep_only({A})
    witness.greet(B, hello(4, 10))
    assert not witness.is_set_back(B)
