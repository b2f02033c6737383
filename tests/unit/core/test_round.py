from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.round import UploadInput, UploadPhase, UploadRound
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.instants import Monotonic
from tests.shared.builders import HSDIRS

ONE, TWO, THREE, FOUR = HSDIRS
SENT, NOT_SENT = UploadInput.SENT, UploadInput.NOT_SENT
UPLOADED, REJECTED = UploadInput.UPLOADED, UploadInput.REJECTED
NO_ANSWER = UploadInput.NO_ANSWER
START = Monotonic(0.0)

# The shortest way into each phase.
WAYS = {
    UploadPhase.PENDING: (),
    UploadPhase.IN_FLIGHT: (SENT,),
    UploadPhase.UNKNOWN: (SENT, NO_ANSWER),
    UploadPhase.RESENT: (SENT, NO_ANSWER, SENT),
    UploadPhase.ACCEPTED: (SENT, UPLOADED),
    UploadPhase.OVERTAKEN: (SENT, REJECTED),
}
MOVES = {
    (UploadPhase.PENDING, SENT): UploadPhase.IN_FLIGHT,
    (UploadPhase.IN_FLIGHT, NOT_SENT): UploadPhase.PENDING,
    (UploadPhase.IN_FLIGHT, UPLOADED): UploadPhase.ACCEPTED,
    (UploadPhase.IN_FLIGHT, REJECTED): UploadPhase.OVERTAKEN,
    (UploadPhase.IN_FLIGHT, NO_ANSWER): UploadPhase.UNKNOWN,
    (UploadPhase.UNKNOWN, SENT): UploadPhase.RESENT,
    (UploadPhase.RESENT, NOT_SENT): UploadPhase.UNKNOWN,
    (UploadPhase.RESENT, UPLOADED): UploadPhase.ACCEPTED,
    (UploadPhase.RESENT, REJECTED): UploadPhase.ACCEPTED,
    (UploadPhase.RESENT, NO_ANSWER): UploadPhase.UNKNOWN,
}


def led(*inputs: UploadInput) -> UploadRound:
    """A round over one HSDir to which these things happened."""
    current = UploadRound.over([ONE])
    for happened in inputs:
        current = current.step(ONE, happened, START)
    return current


@pytest.mark.parametrize(("phase", "happened"), [*product(UploadPhase, UploadInput)])
def test_every_pair_of_phase_and_input_either_moves_or_raises(
    phase: UploadPhase, happened: UploadInput
) -> None:
    current = led(*WAYS[phase])
    assert current.uploads[ONE].phase is phase
    if (phase, happened) in MOVES:
        assert current.step(ONE, happened, START).uploads[ONE].phase is MOVES[phase, happened]
    else:
        with pytest.raises(ValueError, match=f"HSDir {ONE}: '{happened.value}' can't happen"):
            current.step(ONE, happened, START)


def test_an_hsdir_of_another_round_is_no_part_of_this_one() -> None:
    with pytest.raises(KeyError):
        led().step(TWO, SENT, START)


def test_a_new_round_is_due_everywhere_at_once_in_ring_order() -> None:
    current = UploadRound.over(HSDIRS)
    assert current.next_sends(START) == HSDIRS
    assert not current.is_complete


def test_what_is_in_flight_is_not_sent_again() -> None:
    current = UploadRound.over(HSDIRS).step(TWO, SENT, Monotonic(5.0))
    assert current.next_sends(Monotonic(1_000.0)) == (ONE, THREE, FOUR)


def test_nothing_is_due_while_all_are_in_flight() -> None:
    current = led(SENT)
    assert current.next_sends(Monotonic(1_000.0)) == ()
    assert not current.is_complete


@pytest.mark.parametrize("failure", [(SENT, NO_ANSWER), (SENT, NOT_SENT)])
def test_retries_back_off_from_two_seconds_doubling_to_a_minute(
    failure: tuple[UploadInput, ...],
) -> None:
    current, now = UploadRound.over([ONE]), Monotonic(100.0)
    waits = []
    for _ in range(8):
        for happened in failure:
            current = current.step(ONE, happened, now)
        due_at = current.uploads[ONE].due_at
        assert current.next_sends(Monotonic(due_at - 0.001)) == ()
        assert current.next_sends(due_at) == (ONE,)
        waits.append(due_at - now)
        now = due_at
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_retry_that_can_not_be_sent_backs_off_further() -> None:
    assert led(SENT, NO_ANSWER, SENT, NOT_SENT).uploads[ONE].due_at == 4.0


def test_each_hsdir_waits_for_itself() -> None:
    current = UploadRound.over([ONE, TWO])
    for hsdir, now in ((ONE, Monotonic(10.0)), (TWO, Monotonic(11.0))):
        current = current.step(hsdir, SENT, now).step(hsdir, NOT_SENT, now)
    assert current.next_sends(Monotonic(12.5)) == (ONE,)


@pytest.mark.parametrize("failure", [(NO_ANSWER,), (NOT_SENT,), (NO_ANSWER, SENT, NOT_SENT)])
def test_a_hurried_round_tries_again_at_once_and_backs_off_from_the_beginning(
    failure: tuple[UploadInput, ...],
) -> None:
    current = led(SENT, NOT_SENT, SENT, NOT_SENT, SENT, *failure).hurried(Monotonic(1.0))
    assert current.next_sends(Monotonic(1.0)) == (ONE,)
    again = current.step(ONE, SENT, Monotonic(1.0)).step(ONE, NOT_SENT, Monotonic(1.0))
    assert again.uploads[ONE].due_at == 3.0


@pytest.mark.parametrize(
    "phase", [p for p in UploadPhase if p not in {UploadPhase.PENDING, UploadPhase.UNKNOWN}]
)
def test_hurry_changes_nothing_for_an_hsdir_that_waits_for_nothing(phase: UploadPhase) -> None:
    current = led(*WAYS[phase])
    assert current.hurried(START) == current


def test_a_refusal_at_first_means_that_the_hsdir_holds_more() -> None:
    current = led(SENT, REJECTED)
    assert current.overtaken == {ONE}
    assert current.accepted == frozenset()
    assert current.is_complete


def test_a_refusal_of_what_was_sent_before_proves_that_it_had_arrived() -> None:
    current = led(SENT, NO_ANSWER, SENT, REJECTED)
    assert current.accepted == {ONE}
    assert current.overtaken == frozenset()
    assert current.failures == {}


def test_a_round_is_complete_when_every_hsdir_has_answered_for_good() -> None:
    current = UploadRound.over([ONE, TWO])
    for hsdir in (ONE, TWO):
        assert not current.is_complete
        current = current.step(hsdir, SENT, START).step(hsdir, UPLOADED, START)
    assert current.is_complete
    assert current.accepted == {ONE, TWO}


def test_a_failure_is_told_until_the_hsdir_accepts() -> None:
    current = led(SENT).step(ONE, NOT_SENT, START, "552 Unrecognized")
    assert current.failures == {ONE: "552 Unrecognized"}
    current = current.step(ONE, SENT, Monotonic(2.0))
    assert current.failures == {ONE: "552 Unrecognized"}
    current = current.step(ONE, NO_ANSWER, Monotonic(32.0))
    assert current.failures == {ONE: "no answer"}
    current = current.step(ONE, SENT, Monotonic(36.0)).step(ONE, UPLOADED, Monotonic(37.0))
    assert current.failures == {}


def test_an_overtaken_hsdir_is_told_as_a_failure() -> None:
    assert led(SENT, REJECTED).failures == {ONE: "rejected"}


@given(st.lists(st.tuples(st.sampled_from(HSDIRS), st.sampled_from(UploadInput))))
def test_no_hsdir_ever_has_two_uploads_in_flight_or_leaves_a_final_phase(
    happenings: list[tuple[Fingerprint, UploadInput]],
) -> None:
    current, now = UploadRound.over(HSDIRS), START
    for hsdir, happened in happenings:
        now = Monotonic(now + 1.0)
        phase = current.uploads[hsdir].phase
        try:
            after = current.step(hsdir, happened, now)
        except ValueError:
            continue
        assert phase not in {UploadPhase.ACCEPTED, UploadPhase.OVERTAKEN}
        assert happened is not SENT or phase in {UploadPhase.PENDING, UploadPhase.UNKNOWN}
        assert after.accepted >= current.accepted
        assert all(after.uploads[o] is current.uploads[o] for o in HSDIRS if o != hsdir)
        current = after
