from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from rbcluster.errors import VerificationError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.descriptor import Standing, build_descriptor, open_successor
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod
from tests.unit.hs.descriptor.conftest import PERIOD, REVISION, ContentFactory


@pytest.fixture
def periods(period: TimePeriod) -> tuple[TimePeriod, ...]:
    return period, period.previous(), period.next()


def test_first_one_is_accepted_and_tells_its_standing(
    document: bytes, address: OnionAddress, period: TimePeriod, periods: tuple[TimePeriod, ...]
) -> None:
    descriptor = open_successor(document, address, periods, None)
    assert Standing.of(descriptor) == Standing(period=period, revision=REVISION)


def _standing(periods_later: int, revisions_higher: int) -> Standing:
    period = replace(PERIOD, number=PERIOD.number + periods_later)
    return Standing(period=period, revision=RevisionCounter(REVISION + revisions_higher))


@pytest.mark.parametrize("last", [_standing(0, 0), _standing(0, -1), _standing(-1, 5)])
def test_one_that_is_not_below_the_last_is_accepted(
    document: bytes, address: OnionAddress, periods: tuple[TimePeriod, ...], last: Standing
) -> None:
    assert open_successor(document, address, periods, last).revision == REVISION


@pytest.mark.parametrize("last", [_standing(0, 1), _standing(1, -5), _standing(1, 0)])
def test_one_below_the_last_is_refused(
    document: bytes, address: OnionAddress, periods: tuple[TimePeriod, ...], last: Standing
) -> None:
    with pytest.raises(VerificationError, match=rf"older \(period {PERIOD.number}, revision"):
        open_successor(document, address, periods, last)


def test_one_of_another_address_or_an_impossible_period_is_refused(
    make_content: ContentFactory,
    identity: IdentityKeypair,
    now: datetime,
    document: bytes,
    periods: tuple[TimePeriod, ...],
) -> None:
    other = OnionAddress(IdentityKeypair.from_seed(bytes(32)).public)
    with pytest.raises(VerificationError, match="the blinded key is not that of"):
        open_successor(document, other, periods, None)
    late = periods[2].next()
    content = make_content(period=late, keypair=derive_blinded_keypair(identity, late))
    with pytest.raises(VerificationError, match="the blinded key is not that of"):
        open_successor(
            build_descriptor(content, now, bytes), OnionAddress(identity.public), periods, None
        )


def test_standing_counts_minutes_where_a_period_changes_its_length() -> None:
    day, hour = TimePeriod(number=10, length_min=1440), TimePeriod(number=300, length_min=60)
    assert Standing(period=day, revision=RevisionCounter(9)).is_below(
        Standing(period=hour, revision=RevisionCounter(1))
    )
    assert not Standing(period=hour, revision=RevisionCounter(1)).is_below(
        Standing(period=day, revision=RevisionCounter(9))
    )
