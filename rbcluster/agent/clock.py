"""The two clocks of a node, never mixed: wall time for what Tor defines, monotonic for time-outs.

Passed in as one value, so that a simulation can give each node clocks of its own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from rbcluster.core.ids import UnixMs
from rbcluster.instants import Monotonic


class Clock(Protocol):
    """Where a node learns the time."""

    def wall_ms(self) -> UnixMs:
        """Wall time, milliseconds since the epoch. May jump."""

    def monotonic(self) -> Monotonic:
        """Seconds since some fixed instant. Never goes back."""


class SystemClock:
    """The clocks of this machine."""

    def wall_ms(self) -> UnixMs:
        """Wall time, milliseconds since the epoch. May jump."""
        return UnixMs(time.time_ns() // 1_000_000)

    def monotonic(self) -> Monotonic:
        """Seconds since some fixed instant. Never goes back."""
        return Monotonic(time.monotonic())


def to_instant(at: UnixMs) -> datetime:
    """Turn replicated milliseconds into an aware UTC instant."""
    return datetime.fromtimestamp(at / 1000, tz=UTC)
