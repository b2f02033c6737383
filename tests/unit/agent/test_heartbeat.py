"""Heartbeats: what a node says of itself, and what a peer may send instead."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.agent.heartbeat import Heartbeat, TorSummary
from rbcluster.core.ids import UnixMs
from rbcluster.errors import ParseError


def test_heartbeat_survives_the_link() -> None:
    heartbeat = Heartbeat(
        sent_at_ms=UnixMs(1_700_000_000_000),
        faults=("tor has no consensus yet",),
        tor=TorSummary(connected=True, version="0.4.9.11", bootstrapped=85),
        version="1",
    )
    assert Heartbeat.from_bytes(heartbeat.to_bytes()) == heartbeat


def test_node_without_faults_can_publish_and_with_one_cannot() -> None:
    assert Heartbeat(sent_at_ms=UnixMs(1)).can_publish
    assert not Heartbeat(sent_at_ms=UnixMs(1), faults=("x",)).can_publish


def test_unknown_field_of_a_newer_version_is_passed_over() -> None:
    assert Heartbeat.from_bytes(b'{"sent_at_ms": 7, "mood": "good"}').sent_at_ms == 7


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"sent_at_ms": -1}', b'{"sent_at_ms": "soon"}', b"\xff\xfe"],
)
def test_malformed_heartbeat_is_refused(payload: bytes) -> None:
    with pytest.raises(ParseError, match="no heartbeat"):
        Heartbeat.from_bytes(payload)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_anything_else(payload: bytes) -> None:
    with contextlib.suppress(ParseError):
        Heartbeat.from_bytes(payload)
