"""The hash ring: tor's numbers, a naive ring to compare with, and what clients find."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.hashring import (
    HashRing,
    SlotTime,
    derive_disaster_srv,
    derive_hs_index,
    derive_hsdir_index,
    slot_times,
)
from rbcluster.hs.keys import BlindedKey, RelayEd25519Id, SharedRandomValue
from rbcluster.hs.time_period import DescriptorSlot, HsTimes, TimePeriod

FIRST, SECOND = DescriptorSlot.FIRST, DescriptorSlot.SECOND
PUBLIC = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))
TESTING = HsTimes(voting_interval=timedelta(seconds=10), period_length=timedelta(minutes=4))
PERIOD_42 = TimePeriod(number=42, length_min=1440)
CURRENT, PREVIOUS = SharedRandomValue(b"c" * 32), SharedRandomValue(b"p" * 32)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(clock).replace(tzinfo=UTC)


def view_at(valid_after: datetime, times: HsTimes = PUBLIC) -> ConsensusView:
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=valid_after + times.voting_interval,
        valid_until=valid_after + 3 * times.voting_interval,
        times=times,
        srv_current=CURRENT,
        srv_previous=PREVIOUS,
        hsdirs=(),
    )


def hsdirs(count: int) -> tuple[HsDir, ...]:
    return tuple(
        HsDir(Fingerprint(number.to_bytes(20)), RelayEd25519Id(number.to_bytes(32)))
        for number in range(count)
    )


def naive_ring(view: ConsensusView, slot_time: SlotTime, blinded: BlindedKey) -> list[Fingerprint]:
    """Walk the ring as the specification says it, one HSDir after the other."""
    places = {
        derive_hsdir_index(hsdir.ed25519_id, slot_time.srv, slot_time.period): hsdir.fingerprint
        for hsdir in view.hsdirs
    }
    chosen: list[Fingerprint] = []
    for replica in range(1, view.num_replicas + 1):
        own = derive_hs_index(blinded, replica, slot_time.period)
        after = sorted(index for index in places if index >= own)
        wrapped = sorted(index for index in places if index < own)
        added = 0
        for index in after + wrapped:
            if added < view.spread_store and places[index] not in chosen:
                chosen.append(places[index])
                added += 1
    return chosen


def test_the_indices_are_tors() -> None:
    key = b"\x42" * 32
    hs_index = derive_hs_index(BlindedKey(key), 1, PERIOD_42)
    hsdir_index = derive_hsdir_index(
        RelayEd25519Id(key), SharedRandomValue(b"\x43" * 32), PERIOD_42
    )
    assert hs_index.hex() == "37e5cbbd56a22823714f18f1623ece5983a0d64c78495a8cfab854245e5f9a8a"
    assert hsdir_index.hex() == "db475361014a09965e7e5e4d4a25b8f8d4b8f16cb1d8a7e95eed50249cc1a2d5"


def test_the_disaster_value_is_the_hash_of_period_length_and_number() -> None:
    # The text, then 1440 and 42 in eight bytes each, through openssl's SHA3-256.
    known = "8ceceee08eb4f1d74cab263116e8aebc2845a6a386104aa9144237584c856531"
    assert derive_disaster_srv(PERIOD_42) == SharedRandomValue(bytes.fromhex(known))


@pytest.mark.parametrize(
    ("clock", "first", "second", "run_start"),
    [
        ("2016-04-13 00:00:00", 16903, 16904, "2016-04-13 00:00:00"),
        ("2016-04-13 11:00:00", 16903, 16904, "2016-04-13 00:00:00"),
        ("2016-04-13 11:59:59", 16903, 16904, "2016-04-13 00:59:59"),
        ("2016-04-13 12:00:00", 16903, 16904, "2016-04-13 00:00:00"),
        ("2016-04-13 23:00:00", 16903, 16904, "2016-04-13 00:00:00"),
        ("2016-04-14 00:00:00", 16904, 16905, "2016-04-14 00:00:00"),
    ],
)
def test_slots_move_on_at_midnight_and_not_when_the_period_turns(
    clock: str, first: int, second: int, run_start: str
) -> None:
    slots = slot_times(view_at(at(clock)))
    assert (slots[FIRST].period.number, slots[SECOND].period.number) == (first, second)
    assert slots[SECOND].srv_run_start == at(run_start)
    assert slots[FIRST].srv_run_start == at(run_start) - timedelta(days=1)


def test_the_first_descriptor_goes_by_the_previous_srv_and_the_second_by_the_current() -> None:
    for hour in range(24):
        slots = slot_times(view_at(at("2016-04-13 00:00:00") + timedelta(hours=hour)))
        assert (slots[FIRST].slot, slots[FIRST].srv) == (FIRST, PREVIOUS)
        assert (slots[SECOND].slot, slots[SECOND].srv) == (SECOND, CURRENT)


@pytest.mark.parametrize(
    ("clock", "first_starts", "run_start"),
    [
        ("2016-04-13 00:00:00", "2016-04-12 23:58:00", "2016-04-13 00:00:00"),
        ("2016-04-13 00:01:50", "2016-04-12 23:58:00", "2016-04-13 00:00:00"),
        ("2016-04-13 00:02:00", "2016-04-12 23:58:00", "2016-04-13 00:00:00"),
        ("2016-04-13 00:03:50", "2016-04-12 23:58:00", "2016-04-13 00:00:00"),
        ("2016-04-13 00:04:00", "2016-04-13 00:02:00", "2016-04-13 00:04:00"),
        ("2015-04-20 00:15:30", "2015-04-20 00:10:00", "2015-04-20 00:12:00"),
    ],
)
def test_slots_of_a_testing_network_move_on_every_24_votes(
    clock: str, first_starts: str, run_start: str
) -> None:
    slots = slot_times(view_at(at(clock), TESTING))
    assert slots[FIRST].period.start(TESTING) == at(first_starts)
    assert slots[SECOND].period == slots[FIRST].period.next()
    assert slots[SECOND].srv_run_start == at(run_start)
    assert slots[FIRST].srv_run_start == at(run_start) - timedelta(minutes=4)


def test_a_missing_srv_is_replaced_by_the_disaster_value_of_its_own_period() -> None:
    view = replace(view_at(at("2016-04-13 05:00:00")), srv_current=None, srv_previous=None)
    slots = slot_times(view)
    assert slots[FIRST].srv == derive_disaster_srv(slots[FIRST].period)
    assert slots[SECOND].srv == derive_disaster_srv(slots[SECOND].period)
    assert slots[FIRST].srv != slots[SECOND].srv


@given(hour=st.integers(500_000, 520_000), behind=st.integers(-12, 12))
def test_a_client_up_to_twelve_hours_off_asks_for_one_of_the_two_descriptors(
    hour: int, behind: int
) -> None:
    def srv_of_day(day: int) -> SharedRandomValue:
        return SharedRandomValue(day.to_bytes(32))

    day = hour // 24
    service = replace(
        view_at(datetime.fromtimestamp(hour * 3600, UTC)),
        srv_current=srv_of_day(day),
        srv_previous=srv_of_day(day - 1),
    )
    published = {(slot.period, slot.srv) for slot in slot_times(service).values()}
    client_hour = hour - behind
    # rend-spec-v3 2.2.4.1: the period in force, with the SRV that was current when it began.
    began = TimePeriod.containing(datetime.fromtimestamp(client_hour * 3600, UTC), PUBLIC)
    asked = (began, srv_of_day(began.start(PUBLIC).toordinal() - EPOCH_ORDINAL))
    assert asked in published


EPOCH_ORDINAL = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


@given(
    count=st.integers(0, 30),
    num_replicas=st.integers(1, 16),
    spread_store=st.integers(1, 10),
    key=st.binary(min_size=32, max_size=32),
    slot=st.sampled_from(DescriptorSlot),
)
def test_the_ring_is_the_naive_ring(
    count: int, num_replicas: int, spread_store: int, key: bytes, slot: DescriptorSlot
) -> None:
    view = replace(
        view_at(at("2016-04-13 05:00:00")),
        hsdirs=hsdirs(count),
        num_replicas=num_replicas,
        spread_store=spread_store,
    )
    slot_time, blinded = slot_times(view)[slot], BlindedKey(key)
    found = HashRing.at(view, slot_time).responsible(blinded)
    assert list(found) == naive_ring(view, slot_time, blinded)
    assert len(found) == len(set(found)) == min(count, num_replicas * spread_store)


def test_a_small_network_serves_with_all_it_has() -> None:
    view = replace(view_at(at("2016-04-13 05:00:00")), hsdirs=hsdirs(2))
    found = HashRing.at(view, slot_times(view)[FIRST]).responsible(BlindedKey(b"*" * 32))
    assert set(found) == {hsdir.fingerprint for hsdir in view.hsdirs}


def test_an_index_equal_to_that_of_the_descriptor_is_responsible() -> None:
    blinded = BlindedKey(b"k" * 32)
    own = derive_hs_index(blinded, 1, PERIOD_42)
    before = (int.from_bytes(own) - 1).to_bytes(32)
    after = (int.from_bytes(own) + 1).to_bytes(32)
    names = tuple(hsdir.fingerprint for hsdir in hsdirs(3))
    ring = HashRing(
        period=PERIOD_42,
        indices=(before, own, after),
        fingerprints=names,
        num_replicas=1,
        spread_store=3,
    )
    assert ring.responsible(blinded) == (names[1], names[2], names[0])


def test_the_second_replica_passes_over_hsdirs_of_the_first() -> None:
    view = replace(view_at(at("2016-04-13 05:00:00")), hsdirs=hsdirs(5), spread_store=3)
    slot_time = slot_times(view)[SECOND]
    only_first = HashRing.at(replace(view, num_replicas=1), slot_time).responsible(
        BlindedKey(b"k" * 32)
    )
    both = HashRing.at(view, slot_time).responsible(BlindedKey(b"k" * 32))
    assert both[:3] == only_first
    assert len(set(both)) == 5


def test_another_srv_or_period_makes_another_ring() -> None:
    view = replace(view_at(at("2016-04-13 05:00:00")), hsdirs=hsdirs(40))
    slot_time, blinded = slot_times(view)[FIRST], BlindedKey(b"k" * 32)
    ring = HashRing.at(view, slot_time).responsible(blinded)
    assert ring != HashRing.at(view, replace(slot_time, srv=CURRENT)).responsible(blinded)
    later = replace(slot_time, period=slot_time.period.next())
    assert ring != HashRing.at(view, later).responsible(blinded)
