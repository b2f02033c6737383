"""Relay fingerprints, and the defaults of consensus parameters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.time_period import HsTimes

HEX = "41E59B754B7C9756EF8883852BC05DC1BE96EBA1"


@pytest.mark.parametrize("text", [HEX, "$" + HEX, HEX.lower()])
def test_a_fingerprint_is_read_as_tor_writes_it(text: str) -> None:
    assert str(Fingerprint.from_hex(text)) == HEX


@given(raw=st.binary(min_size=20, max_size=20))
def test_a_fingerprint_survives_its_text(raw: bytes) -> None:
    assert Fingerprint.from_hex(str(Fingerprint(raw))).raw == raw


@pytest.mark.parametrize("length", [0, 19, 21, 32])
def test_a_fingerprint_takes_20_bytes(length: int) -> None:
    with pytest.raises(ValueError, match=f"takes 20 bytes, not {length}"):
        Fingerprint(bytes(length))


@pytest.mark.parametrize("text", ["", HEX[:-1], HEX + "00", "relay", "$$" + HEX])
def test_a_text_that_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"takes 20 bytes|hexadecimal"):
        Fingerprint.from_hex(text)


def test_fingerprints_are_ordered_by_their_bytes() -> None:
    low, high = Fingerprint(b"\x01" + bytes(19)), Fingerprint(b"\x80" + bytes(19))
    assert sorted([high, low]) == [low, high]


def test_a_consensus_without_parameters_means_tors_defaults() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    view = ConsensusView(
        valid_after=now,
        fresh_until=now + timedelta(hours=1),
        valid_until=now + timedelta(hours=3),
        times=HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1)),
        srv_current=None,
        srv_previous=None,
        hsdirs=(),
    )
    assert (view.num_replicas, view.spread_store) == (2, 4)
