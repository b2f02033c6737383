"""Which source counts: the latest period that has a live point, and of one period the first."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from rbcluster.hs.descriptor import open_descriptor
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.intro_source import LocalIntroPoints, latest_live
from tests.unit.tor.fake_control_port import ADDRESS, PERIOD, make_document, relay

EARLIER = PERIOD.previous()


def _listing(*relays: int, period: TimePeriod = PERIOD) -> LocalIntroPoints:
    document = make_document(*relays, period=period)
    return LocalIntroPoints.of(open_descriptor(document, ADDRESS, period), document)


def _on_show(*listings: LocalIntroPoints, live: Collection[int]) -> tuple[int, ...]:
    found = latest_live(listings, frozenset(map(relay, live)))
    return tuple(point.relay.raw[0] for point in found.points)


def test_points_without_a_circuit_are_left_out() -> None:
    assert _on_show(_listing(1, 2, 3), live=[1, 3, 9]) == (1, 3)


@pytest.mark.parametrize("is_turned", [False, True])
def test_later_period_counts_whichever_source_tells_of_it(is_turned: bool) -> None:
    one, two = _listing(1, 2, period=EARLIER), _listing(3, 4)
    both = (two, one) if is_turned else (one, two)
    assert _on_show(*both, live=[1, 2, 3, 4]) == (3, 4)


def test_of_one_period_the_more_direct_source_counts() -> None:
    assert _on_show(_listing(1, 2), _listing(2, 3), live=[1, 2, 3]) == (1, 2)


def test_later_period_without_any_live_point_gives_way() -> None:
    assert _on_show(_listing(1, 2, period=EARLIER), _listing(3, 4), live=[2]) == (2,)


def test_where_no_point_lives_there_is_none() -> None:
    assert latest_live([_listing(1)], frozenset()) == LocalIntroPoints.none()
    assert latest_live([], frozenset()) == LocalIntroPoints.none()


def test_listing_names_the_address_whose_descriptor_it_is() -> None:
    assert _listing(1).origin == ADDRESS
    assert LocalIntroPoints.none().origin is None
