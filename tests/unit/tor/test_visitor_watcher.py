"""Joined rendezvous circuits are visitors; lines as tor 0.4.9.11 writes them."""

from __future__ import annotations

import pytest

from rbcluster.tor.visitor_watcher import VisitorWatch
from tests.unit.tor.fake_control_port import ADDRESS

LABEL = ADDRESS.label
OURS = frozenset({LABEL})


def line(
    circuit: int, *, status: str = "BUILT", state: str = "HSSR_JOINED", to: str = LABEL
) -> str:
    return (
        f"{circuit} {status} ${'AB' * 20}~relay1,${'CD' * 20}~relay2 "
        f"BUILD_FLAGS=IS_INTERNAL,NEED_CAPACITY PURPOSE=HS_SERVICE_REND HS_STATE={state} "
        f"REND_QUERY={to} TIME_CREATED=2026-03-01T15:30:00.000000"
    )


def watch(*lines: str) -> VisitorWatch:
    found = VisitorWatch()
    for each in lines:
        found = found.after_circuit(each)
    return found


def test_each_joined_circuit_is_a_visitor() -> None:
    assert watch(line(1), line(2, status="PURPOSE_CHANGED")).num_visitors(OURS) == 2


def test_said_twice_it_is_one() -> None:
    assert watch(line(1), line(1)).num_visitors(OURS) == 1


@pytest.mark.parametrize(
    "other",
    [
        line(1, state="HSSR_CONNECTING"),
        line(1).replace("HS_SERVICE_REND", "HS_CLIENT_REND"),
        line(1, to="b" * 56),
        line(1, status="FAILED"),
        "1",
        "",
    ],
)
def test_anything_else_is_not(other: str) -> None:
    assert watch(other).num_visitors(OURS) == 0


@pytest.mark.parametrize("status", ["CLOSED", "FAILED"])
def test_whose_circuit_ends_is_gone(status: str) -> None:
    assert watch(line(1), line(2), line(1, status=status)).num_visitors(OURS) == 1


def test_snapshot_replaces_what_was_known() -> None:
    found = watch(line(1), line(2)).before_snapshot().after_snapshot([line(2), line(3), line(4)])
    assert found.num_visitors(OURS) == 3


def test_events_since_the_snapshot_was_asked_for_stand() -> None:
    asked = watch(line(1)).before_snapshot()
    told = asked.after_circuit(line(1, status="CLOSED")).after_circuit(line(2))
    assert told.after_snapshot([line(1)]).joined == {("2", LABEL)}
