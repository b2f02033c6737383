"""Two clocks, and the one form of time in replicated state."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from rbcluster.agent.clock import SystemClock, to_instant
from rbcluster.core.ids import UnixMs


def test_instants_of_replicated_time_are_aware_utc() -> None:
    assert to_instant(UnixMs(1_500)) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_the_system_clock_tells_milliseconds_of_wall_time() -> None:
    before = time.time_ns() // 1_000_000
    told = SystemClock().wall_ms()
    assert before <= told <= time.time_ns() // 1_000_000


def test_the_system_clock_tells_seconds_that_never_go_back() -> None:
    before = time.monotonic()
    told = SystemClock().monotonic()
    assert before <= told <= time.monotonic()
