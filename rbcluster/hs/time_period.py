"""Time periods, and the two descriptors a service keeps in each.

A period is a span in which one blinded key is valid. Consensus time counts, never a local clock.

::

    public network    00:00      12:00      00:00      12:00      00:00   UTC
    SRV               | srv#1               | srv#2               | srv#3
    time period  ---------------->| tp#1 ----------------->| tp#2 -------
    first descriptor             (tp#0,srv#0)(tp#0,srv#1)(tp#1,srv#1)...
                                 i.e. (tp-1, previous SRV) between TP and SRV, else (tp, previous)
    second descriptor            (tp, current SRV) between TP and SRV, else (tp+1, current)

Spec: rend-spec-v3 2.2.1 [TIME-PERIODS], 2.2.4 [FETCHUPLOADDESC].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from rbcluster.hs.params import PERIOD_OFFSET_ROUNDS, SRV_ROUNDS_PER_RUN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


class DescriptorSlot(Enum):
    """Which of a service's two descriptors. Spec: rend-spec-v3 2.2.4."""

    FIRST = "first"  # for clients whose consensus is older, or the period in force
    SECOND = "second"  # for clients whose consensus is newer, or the period to come


@dataclass(frozen=True, slots=True, kw_only=True)
class HsTimes:
    """How long periods and shared-random runs last in this network.

    :raises ValueError: if a length is not positive.
    """

    voting_interval: timedelta  # fresh-until less valid-after of the consensus; 1 h in public
    period_length: timedelta  # whole minutes (`hsdir_interval`, or 24 votes in a testing network)

    def __post_init__(self) -> None:
        if self.voting_interval <= timedelta(0) or self.period_length < _MINUTE:
            msg = (
                f"voting interval {self.voting_interval} and period length {self.period_length} "
                "must be positive, the latter at least a minute"
            )
            raise ValueError(msg)

    @property
    def srv_run_length(self) -> timedelta:
        """How long one shared-random protocol run lasts (24 voting intervals)."""
        return SRV_ROUNDS_PER_RUN * self.voting_interval

    @property
    def rotation_offset(self) -> timedelta:
        """How long after an SRV a period turns (12 voting intervals)."""
        return PERIOD_OFFSET_ROUNDS * self.voting_interval


@dataclass(
    frozen=True, slots=True, kw_only=True
)  # no order: periods of unlike length don't compare
class TimePeriod:
    """A span in which one blinded key is valid. Spec: rend-spec-v3 2.2.1 [TIME-PERIODS]."""

    number: int  # whole periods since the epoch plus the rotation offset; >= 0
    length_min: int  # minutes

    def __post_init__(self) -> None:
        if self.number < 0 or self.length_min < 1:
            msg = f"no time period has number {self.number} and length {self.length_min} min"
            raise ValueError(msg)

    @classmethod
    def containing(cls, valid_after: datetime, times: HsTimes) -> TimePeriod:
        """Find the period that holds a consensus time.

        :param valid_after: aware UTC instant; the consensus's, never the local clock.
        :raises ValueError: if it is naive, or before the first period.

        >>> day = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))
        >>> TimePeriod.containing(datetime(2016, 4, 13, 11, 15, 1, tzinfo=UTC), day).number
        16903
        """
        if valid_after.tzinfo is None:
            raise ValueError("valid_after must be an aware UTC instant")
        length_min = times.period_length // _MINUTE
        # Both in whole minutes before they are subtracted, as tor does: it matters only for a
        # testing network whose offset is no whole minute.
        minutes = (valid_after - _EPOCH) // _MINUTE - times.rotation_offset // _MINUTE
        return cls(number=minutes // length_min, length_min=length_min)

    def next(self) -> TimePeriod:
        """Return the period after this one."""
        return replace(self, number=self.number + 1)

    def previous(self) -> TimePeriod:
        """Return the period before this one."""
        return replace(self, number=self.number - 1)

    def start(self, times: HsTimes) -> datetime:
        """Return the instant at which it begins."""
        return _EPOCH + times.rotation_offset + self.number * self.length_min * _MINUTE
