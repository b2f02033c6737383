"""Which fetched descriptor may take the place of the last: never an older one.

An HSDir can serve what it was once given, and its signatures hold for ever. So a descriptor that
came from one is accepted only for the address asked for, in a period that is possible now, and
only if neither its period nor, within that, its revision is below the last one's.

It says which points an address has shown, and nothing about whether they still answer.

Overview::

    Standing         how new a descriptor is: period and revision
    open_successor   verify and decrypt, unless it is older than the last
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rbcluster.errors import VerificationError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor.open import Descriptor, find_period, open_descriptor
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How new a descriptor of an address is."""

    period: TimePeriod
    revision: RevisionCounter

    @classmethod
    def of(cls, descriptor: Descriptor) -> Standing:
        """Tell how new this one is."""
        return cls(period=descriptor.period, revision=descriptor.revision)

    def is_below(self, other: Standing) -> bool:
        """Tell whether this one is the older."""
        return self._rank < other._rank

    @property
    def _rank(self) -> tuple[int, int]:
        """Minutes before revisions, so that it holds across a change of the period's length."""
        return self.period.number * self.period.length_min, self.revision


def open_successor(
    document: bytes, address: OnionAddress, periods: Iterable[TimePeriod], last: Standing | None
) -> Descriptor:
    """Verify and decrypt a descriptor that came from an HSDir.

    :param periods: those it may be of now.
    :param last: of the one accepted before it; None if this is the first.
    :raises DescriptorError: as `find_period` and `open_descriptor` do.
    :raises VerificationError: also if it is older than the last.
    """
    descriptor = open_descriptor(document, address, find_period(document, address, periods))
    found = Standing.of(descriptor)
    if last is not None and found.is_below(last):
        raise VerificationError(
            f"it is older (period {found.period.number}, revision {found.revision}) than the one "
            f"accepted before (period {last.period.number}, revision {last.revision}): "
            "ask another HSDir"
        )
    return descriptor
