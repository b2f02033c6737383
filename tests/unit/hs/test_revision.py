"""Revision counters: tor's numbers, and that they only rise."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.hashring import SlotTime, slot_times
from rbcluster.hs.keys import BlindedKeypair, IdentityKeypair, SharedRandomValue
from rbcluster.hs.revision import MAX_SECONDS, RevisionScheme
from rbcluster.hs.time_period import DescriptorSlot, HsTimes, TimePeriod

CAPTURE = Path(__file__).parents[2] / "vectors" / "tor-0.4.9.11"
TORS_KEY = bytes.fromhex("19e05891d55232c08c2cad91d612fdb9cbd6691949a0742434a76c80bc6992fe")
SCHEME = RevisionScheme.from_key(TORS_KEY)
PERIOD = TimePeriod(number=20489, length_min=1440)
KEYPAIR = derive_blinded_keypair(IdentityKeypair.from_seed(b"\x11" * 32), PERIOD)
RUN_START = datetime(2026, 2, 6, tzinfo=UTC)
SLOT = SlotTime(
    slot=DescriptorSlot.SECOND,
    period=PERIOD,
    srv=SharedRandomValue(bytes(32)),
    srv_run_start=RUN_START,
)


@pytest.mark.parametrize(
    ("seconds", "revision"),
    [
        (7110, 234966492),
        (9612, 318326551),
        (11391, 376696838),
        (12154, 402067100),
        (21893, 721388468),
        (30438, 1001394664),
        (46254, 1521227949),
        (57720, 1897369989),
        (61284, 2013616892),
        (82283, 2695743564),
        (109403, 3585352477),
        (123569, 4051780471),
    ],
)
def test_the_sequence_is_tors(seconds: int, revision: int) -> None:
    assert SCHEME.revision_at(seconds) == revision


@pytest.mark.parametrize("around", [1, 2, 1024, 2048, 65_536, 172_800, MAX_SECONDS - 1])
def test_the_sequence_rises_across_kept_sums(around: int) -> None:
    revisions = [SCHEME.revision_at(second) for second in range(max(1, around - 3), around + 2)]
    assert all(low < high <= low + 2**16 for low, high in pairwise(revisions))


@given(first=st.integers(1, MAX_SECONDS), second=st.integers(1, MAX_SECONDS))
def test_later_is_higher(first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert (SCHEME.revision_at(low) < SCHEME.revision_at(high)) == (low < high)


@pytest.mark.parametrize("seconds", [0, -1, -(10**9)])
def test_before_the_first_second_the_counter_is_that_of_the_first(seconds: int) -> None:
    assert 1 <= SCHEME.revision_at(seconds) == SCHEME.revision_at(1) <= 2**16


@pytest.mark.parametrize("seconds", [MAX_SECONDS + 1, 10**9])
def test_after_the_last_second_the_counter_is_that_of_the_last(seconds: int) -> None:
    last = SCHEME.revision_at(MAX_SECONDS)
    assert SCHEME.revision_at(seconds) == last
    assert SCHEME.revision_at(MAX_SECONDS - 1) < last <= 2**34


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [
        (timedelta(days=-1), 1),
        (timedelta(0), 1),
        (timedelta(milliseconds=999), 1),
        (timedelta(seconds=1), 2),
        (timedelta(days=2, seconds=-1), 172_800),
        (timedelta(days=30), MAX_SECONDS),
    ],
)
def test_seconds_count_from_the_start_of_the_srv_run_plus_one(
    elapsed: timedelta, seconds: int
) -> None:
    assert SCHEME.revision_for(SLOT, RUN_START + elapsed) == SCHEME.revision_at(seconds)


@pytest.mark.parametrize("service", ["ordinary", "authorized"])
def test_the_counter_in_tors_own_descriptor_is_ours_of_a_second_just_before(service: str) -> None:
    """Tor made it for its first slot, by a consensus not older than three votes."""
    facts = json.loads((CAPTURE / "capture.json").read_text())
    text = (CAPTURE / f"descriptor-{service}.txt").read_text()
    found = re.search(r"^revision-counter (\d+)$", text, re.MULTILINE)
    assert found is not None
    identity = IdentityKeypair.from_seed(bytes.fromhex(facts["services"][service]["seed"]))
    captured_at = int(facts["services"][service]["captured_at_unix"])
    interval_s = facts["voting_interval_s"]
    times = HsTimes(
        voting_interval=timedelta(seconds=interval_s),
        period_length=timedelta(minutes=facts["period_length_min"]),
    )
    ours = set()
    for votes_ago in range(4):
        valid_after = datetime.fromtimestamp(
            (captured_at // interval_s - votes_ago) * interval_s, UTC
        )
        slot_time = slot_times(view_at(valid_after, times))[DescriptorSlot.FIRST]
        scheme = RevisionScheme.from_keypair(derive_blinded_keypair(identity, slot_time.period))
        for seconds_ago in range(30):
            made_at = datetime.fromtimestamp(captured_at - seconds_ago, UTC)
            ours.add(scheme.revision_for(slot_time, made_at))
    assert int(found[1]) in ours


def view_at(valid_after: datetime, times: HsTimes) -> ConsensusView:
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=valid_after + times.voting_interval,
        valid_until=valid_after + 2 * times.voting_interval,
        times=times,
        srv_current=None,
        srv_previous=None,
        hsdirs=(),
    )


def test_nodes_with_the_same_key_agree() -> None:
    again = derive_blinded_keypair(IdentityKeypair.from_seed(b"\x11" * 32), PERIOD)
    assert RevisionScheme.from_keypair(KEYPAIR) == RevisionScheme.from_keypair(again)


def test_the_sequence_depends_on_all_64_bytes_of_the_blinded_key() -> None:
    other = BlindedKeypair(KEYPAIR.secret[:32] + bytes(32))
    assert other.public == KEYPAIR.public
    one = RevisionScheme.from_keypair(KEYPAIR).revision_at(1000)
    assert one != RevisionScheme.from_keypair(other).revision_at(1000)


def test_another_period_has_another_sequence() -> None:
    later = derive_blinded_keypair(IdentityKeypair.from_seed(b"\x11" * 32), PERIOD.next())
    one = RevisionScheme.from_keypair(KEYPAIR).revision_at(1000)
    assert one != RevisionScheme.from_keypair(later).revision_at(1000)


def test_a_scheme_shows_no_secret() -> None:
    assert repr(SCHEME) == str(SCHEME) == "RevisionScheme(<secret>)"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="key size"):
        RevisionScheme.from_key(bytes(length))
