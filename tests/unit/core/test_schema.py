"""Two releases in one cluster: the same bytes while they can, a clear stop when they can't."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.apply import apply, apply_bytes
from rbcluster.core.codec import decode_command, decode_state, encode_command, encode_state
from rbcluster.core.commands import Applied, Command, RaiseSchema, Refused
from rbcluster.core.ids import Term
from rbcluster.core.state import ClusterState
from rbcluster.core.wire import to_bytes
from rbcluster.errors import SchemaError
from tests.shared.builders import ADA, BOB, IN_OFFICE, logs, point, report
from tests.shared.schema_two import (
    StateTwo,
    apply_two,
    decode_two,
    encode_motto,
    encode_two,
)

REMEDY = "gone over to schema 2, and this rbcluster knows none newer than 1: upgrade rbcluster"
TO_TWO = RaiseSchema(version=2, office_node=ADA, office_term=Term(1))


@given(logs(), st.integers(0, 40))
def test_old_and_new_release_give_the_same_bytes_until_the_schema_is_raised(
    log: list[Command], restart_after: int
) -> None:
    one, two = ClusterState(), StateTwo()
    for number, data in enumerate(map(encode_command, log)):
        one, verdict = apply_bytes(one, data)
        two, same = apply_two(two, data)
        assert same == verdict
        if number == restart_after:  # each goes on with what the other wrote
            one, two = decode_state(encode_two(two)), decode_two(encode_state(one))
    assert encode_two(two) == encode_state(one)


def test_old_release_stops_where_the_new_one_goes_over_and_its_state_stays_true() -> None:
    log = [encode_command(TO_TWO), encode_motto("onward"), encode_command(report(BOB, point(9)))]
    two = reduce(lambda state, data: apply_two(state, data)[0], log, StateTwo(one=IN_OFFICE))
    assert (two.one.schema, two.motto) == (2, "onward")
    for data in log[:2]:  # the second: had it missed the first
        with pytest.raises(SchemaError, match=REMEDY):
            apply_bytes(IN_OFFICE, data)
    assert encode_two(decode_two(encode_state(IN_OFFICE))) == encode_state(IN_OFFICE)


def test_old_release_does_not_take_a_newer_snapshot_for_a_damaged_one() -> None:
    two = StateTwo(one=replace(IN_OFFICE, schema=2), motto="onward")
    assert decode_two(encode_two(two)) == two
    with pytest.raises(SchemaError, match=REMEDY):
        decode_state(encode_two(two))


@pytest.mark.parametrize("rest", [[], [32], [1, 2, 3, 4], ["words", None]])
def test_newer_version_is_told_whatever_follows_it(rest: list[object]) -> None:
    for decode in (decode_command, decode_state):
        with pytest.raises(SchemaError, match=REMEDY):
            decode(to_bytes([2, *rest]))  # type: ignore[list-item]


@pytest.mark.parametrize("head", [0, -1, 2**16, 2**63, True, None, "2", b"2"])
def test_what_is_no_version_is_a_no_op_on_every_node(head: object) -> None:
    state, verdict = apply_bytes(IN_OFFICE, to_bytes([head, 2, ["ada", 5]]))  # type: ignore[list-item]
    assert state is IN_OFFICE
    assert isinstance(verdict, Refused)


def test_schema_is_raised_by_the_office_holder_alone_and_never_lowered() -> None:
    for command in (
        replace(TO_TWO, office_node=BOB),
        replace(TO_TWO, office_term=Term(2)),
        replace(TO_TWO, version=1),
    ):
        assert isinstance(apply(IN_OFFICE, command)[1], Refused)
    beyond = replace(IN_OFFICE, schema=3)
    assert isinstance(apply(beyond, TO_TWO)[1], Refused)


def test_schema_that_this_release_knows_comes_into_force() -> None:
    of_before = replace(IN_OFFICE, schema=0)  # there was none; a next release will have one
    state, verdict = apply(of_before, replace(TO_TWO, version=1))
    assert verdict == Applied()
    assert state == IN_OFFICE


def test_schema_in_force_is_part_of_the_state() -> None:
    state, verdict = apply_two(StateTwo(one=IN_OFFICE), encode_command(TO_TWO))
    assert verdict == Applied()
    assert encode_two(state) != encode_state(IN_OFFICE)
    assert decode_two(encode_two(state)).one.schema == 2
    assert decode_state(encode_state(IN_OFFICE)).schema == 1
