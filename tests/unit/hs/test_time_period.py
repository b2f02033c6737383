"""Time periods: the specification's example, its edges, and testing networks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.hs.time_period import HsTimes, TimePeriod

PUBLIC = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))
TESTING = HsTimes(voting_interval=timedelta(seconds=10), period_length=timedelta(minutes=4))


@pytest.mark.parametrize(
    ("clock", "number"),
    [
        ("2016-04-12 12:00:00", 16903),
        ("2016-04-13 11:00:00", 16903),
        ("2016-04-13 11:59:59", 16903),
        ("2016-04-13 12:00:00", 16904),
        ("2016-04-14 11:59:59", 16904),
        ("2018-05-02 14:00:00", 17653),
    ],
)
def test_the_public_networks_period_turns_at_noon(clock: str, number: int) -> None:
    period = TimePeriod.containing(at(clock), PUBLIC)
    assert period == TimePeriod(number=number, length_min=1440)


@pytest.mark.parametrize(
    ("clock", "next_start"),
    [
        ("2016-04-13 00:00:00", "2016-04-13 00:02:00"),
        ("2016-04-13 00:01:59", "2016-04-13 00:02:00"),
        ("2016-04-13 00:02:00", "2016-04-13 00:06:00"),
    ],
)
def test_a_testing_networks_period_lasts_24_votes(clock: str, next_start: str) -> None:
    period = TimePeriod.containing(at(clock), TESTING)
    assert period.next().start(TESTING) == at(next_start)


def test_the_periods_length_comes_from_the_consensus_and_not_from_the_vote() -> None:
    times = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(minutes=90))
    period = TimePeriod.containing(at("1970-01-01 15:00:00"), times)
    assert period == TimePeriod(number=2, length_min=90)


def test_an_offset_that_is_no_whole_minute_is_cut_to_minutes_as_tor_cuts_it() -> None:
    times = HsTimes(voting_interval=timedelta(seconds=12), period_length=timedelta(minutes=4))
    assert times.rotation_offset == timedelta(seconds=144)
    assert TimePeriod.containing(at("1970-01-01 00:06:00"), times).number == 1
    assert TimePeriod.containing(at("1970-01-01 00:05:59"), times).number == 0


@given(
    moment=st.datetimes(datetime(1970, 1, 3), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    interval_s=st.sampled_from([10, 20, 60, 300, 1800, 3600]),
    length_min=st.integers(1, 14_400),
)
def test_an_instant_lies_in_its_period(moment: datetime, interval_s: int, length_min: int) -> None:
    times = HsTimes(
        voting_interval=timedelta(seconds=interval_s), period_length=timedelta(minutes=length_min)
    )
    period = TimePeriod.containing(moment, times)
    assert period.start(times) <= moment < period.next().start(times)


def test_a_period_lies_between_its_neighbours() -> None:
    period = TimePeriod(number=7, length_min=1440)
    assert (period.previous().number, period.next().number) == (6, 8)
    assert period.next().previous() == period
    assert period.next().length_min == 1440


def test_the_zone_of_an_instant_does_not_matter() -> None:
    far_east = datetime(2016, 4, 14, 1, 0, tzinfo=timezone(timedelta(hours=14)))
    assert TimePeriod.containing(far_east, PUBLIC).number == 16903


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware UTC"):
        TimePeriod.containing(datetime(2016, 4, 13), PUBLIC)  # noqa: DTZ001


def test_there_is_no_period_before_the_first() -> None:
    assert TimePeriod.containing(at("1970-01-01 12:00:00"), PUBLIC).number == 0
    with pytest.raises(ValueError, match="no time period has number -1"):
        TimePeriod.containing(at("1970-01-01 11:59:59"), PUBLIC)
    with pytest.raises(ValueError, match="number -1"):
        TimePeriod(number=0, length_min=1440).previous()


def test_a_period_lasts_at_least_a_minute() -> None:
    with pytest.raises(ValueError, match="length 0 min"):
        TimePeriod(number=1, length_min=0)


@pytest.mark.parametrize(
    ("interval_s", "length_s"), [(0, 3600), (-1, 3600), (3600, 59), (3600, -60)]
)
def test_times_that_stand_still_are_refused(interval_s: int, length_s: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        HsTimes(
            voting_interval=timedelta(seconds=interval_s), period_length=timedelta(seconds=length_s)
        )


def test_an_srv_run_takes_24_votes_and_a_period_turns_after_12() -> None:
    assert PUBLIC.srv_run_length == timedelta(days=1)
    assert PUBLIC.rotation_offset == timedelta(hours=12)
    assert TESTING.srv_run_length == timedelta(minutes=4)
    assert TESTING.rotation_offset == timedelta(minutes=2)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(clock).replace(tzinfo=UTC)
