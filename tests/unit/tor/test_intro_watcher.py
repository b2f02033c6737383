from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.instants import Monotonic
from rbcluster.tor.intro_watcher import GRACE_S, REREAD_AFTER_S, IntroWatch
from tests.unit.tor.fake_control_port import ADDRESS, circuit_line, relay

_LABEL = ADDRESS.label
_OTHER = OnionAddress(IdentityKeypair.from_seed(bytes(32)).public)
_CLOSED = "CLOSED"
_START = Monotonic(0.0)


def _watch(*lines: str, now: Monotonic = _START) -> IntroWatch:
    watch = IntroWatch()
    for line in lines:
        watch = watch.after_circuit(line, now)
    return watch


def test_an_established_circuit_counts_for_its_last_relay() -> None:
    watch = _watch(circuit_line(7, 1, 2, 3))
    assert watch.has_circuit(_LABEL)
    assert watch.live_relays(_LABEL) == {relay(3)}


@pytest.mark.parametrize(
    "line",
    [
        circuit_line(7, 1, 2, 3, state="HSSI_CONNECTING"),
        circuit_line(7, 1, 2, 3, address=_OTHER),
        circuit_line(7, 1, 2, 3).replace("HS_SERVICE_INTRO", "HS_SERVICE_HSDIR"),
        circuit_line(7, 1, 2, 3, status=_CLOSED),
        circuit_line(7, 1, 2, 3).replace(f"REND_QUERY={_LABEL} ", ""),
        "7 LAUNCHED PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY=" + _LABEL,
        "7",
        "",
    ],
)
def test_anything_else_does_not_count(line: str) -> None:
    watch = _watch(line)
    assert not watch.has_circuit(_LABEL)
    assert watch.live_relays(_LABEL) == frozenset()


def test_a_service_without_any_circuit_has_none_at_once() -> None:
    watch = _watch(circuit_line(7, 3)).after_circuit(
        circuit_line(7, 3, status=_CLOSED), Monotonic(10.0)
    )
    assert not watch.has_circuit(_LABEL)


def test_a_relay_stays_live_for_a_moment_after_its_circuit() -> None:
    watch = _watch(circuit_line(7, 3), circuit_line(8, 4))
    watch = watch.after_circuit(circuit_line(7, 3, status=_CLOSED), Monotonic(10.0))
    watch, _ = watch.tick(Monotonic(10.0 + GRACE_S - 0.1))
    assert watch.live_relays(_LABEL) == {relay(3), relay(4)}
    watch, _ = watch.tick(Monotonic(10.0 + GRACE_S))
    assert watch.live_relays(_LABEL) == {relay(4)}


def test_a_circuit_that_comes_back_in_time_changes_nothing() -> None:
    watch = _watch(circuit_line(7, 3))
    watch = watch.after_circuit(circuit_line(7, 3, status=_CLOSED), Monotonic(10.0))
    watch = watch.after_circuit(circuit_line(9, 2, 3), Monotonic(11.0))
    watch, _ = watch.tick(Monotonic(20.0))
    assert watch.live_relays(_LABEL) == {relay(3)}


def test_a_second_circuit_to_the_same_relay_keeps_it_live() -> None:
    watch = _watch(circuit_line(7, 3), circuit_line(8, 3))
    watch = watch.after_circuit(circuit_line(7, 3, status=_CLOSED), Monotonic(10.0))
    assert watch.lost_at == {}


def test_a_circuit_put_to_another_purpose_is_lost() -> None:
    line = circuit_line(7, 3).replace("HS_SERVICE_INTRO", "C_MEASURE_TIMEOUT")
    assert not _watch(circuit_line(7, 3), line).has_circuit(_LABEL)


def test_a_new_circuit_asks_for_the_snapshot_when_tor_has_renewed_it() -> None:
    watch = _watch(circuit_line(7, 3), now=Monotonic(10.0))
    assert watch.next_deadline() == 10.0 + REREAD_AFTER_S[0]
    watch, due = watch.tick(Monotonic(10.0 + REREAD_AFTER_S[0]))
    assert due == {_LABEL}
    watch, due = watch.tick(Monotonic(10.0 + REREAD_AFTER_S[1]))
    assert due == {_LABEL}
    assert watch.next_deadline() is None


def test_a_circuit_told_of_again_asks_for_nothing() -> None:
    watch, _ = _watch(circuit_line(7, 3), now=Monotonic(10.0)).tick(Monotonic(20.0))
    watch = watch.after_circuit(circuit_line(7, 3), Monotonic(20.0))
    assert watch.next_deadline() is None


def test_a_rotation_asks_for_the_snapshot_at_once() -> None:
    watch, due = IntroWatch().after_rotation(_LABEL, Monotonic(10.0)).tick(Monotonic(10.0))
    assert due == {_LABEL}
    assert watch.next_deadline() == 10.0 + REREAD_AFTER_S[0]


def test_a_snapshot_replaces_what_was_known() -> None:
    watch = _watch(circuit_line(7, 3)).before_snapshot()
    watch = watch.after_snapshot([circuit_line(8, 4)], Monotonic(10.0))
    assert set(watch.established) == {"8"}
    assert {seat.relay: at for seat, at in watch.lost_at.items()} == {relay(3): 10.0}


@pytest.mark.parametrize("snapshot", [[], [circuit_line(7, 3)]])
def test_an_event_since_a_snapshot_was_asked_for_outlives_it(snapshot: list[str]) -> None:
    closed = _watch(circuit_line(7, 3)).before_snapshot()
    closed = closed.after_circuit(circuit_line(7, 3, status=_CLOSED), Monotonic(10.0))
    assert not closed.after_snapshot(snapshot, Monotonic(10.0)).established
    opened = IntroWatch().before_snapshot().after_circuit(circuit_line(7, 3), Monotonic(10.0))
    assert set(opened.after_snapshot(snapshot, Monotonic(10.0)).established) == {"7"}


def test_an_event_before_a_snapshot_was_asked_for_does_not() -> None:
    watch = _watch(circuit_line(7, 3)).before_snapshot().after_snapshot([], Monotonic(10.0))
    later = watch.before_snapshot().after_snapshot([circuit_line(7, 3)], Monotonic(11.0))
    assert not watch.established
    assert set(later.established) == {"7"}


_LINES = st.builds(
    circuit_line,
    st.integers(1, 4),
    st.integers(1, 4),
    status=st.sampled_from(["BUILT", "CLOSED", "PURPOSE_CHANGED"]),
    state=st.sampled_from(["HSSI_CONNECTING", "HSSI_ESTABLISHED"]),
)


@given(st.lists(st.tuples(_LINES, st.floats(0, 2)), max_size=30))
def test_events_and_a_snapshot_of_their_end_agree(steps: list[tuple[str, float]]) -> None:
    watch, now, last = IntroWatch(), _START, dict[str, str]()
    for line, pause in steps:
        now = Monotonic(now + pause)
        watch, _ = watch.after_circuit(line, now).tick(now)
        last[line.split()[0]] = line
    assert IntroWatch().after_snapshot(last.values(), now).established == watch.established
    held = set(watch.established.values())
    assert not held & set(watch.lost_at)
    assert all(now < at + GRACE_S for at in watch.lost_at.values())
    deadline = watch.next_deadline()
    assert deadline is None or deadline > now


@given(st.text(max_size=80))
def test_any_line_is_taken(line: str) -> None:
    assert not _watch(line).has_circuit(_LABEL)
