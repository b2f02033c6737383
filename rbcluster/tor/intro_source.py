"""Where a node's introduction points come from: one interface, and the rule that joins its kinds.

A source says which points a service has on this node, proved by a signed descriptor; whether they
are alive, circuits say (`intro_watcher.py`).

    SnapshotSource  intro_snapshot.py  the first of the two descriptors that tor would publish now
    FetchedSource   intro_fetch.py     what clients find: that of the period in force, from HSDirs

With a shared identity there is only the first. An instance's first descriptor is the one that
clients see until the time period turns; from then until the next shared random value they see its
second, which only HSDirs tell of. Its points become those of the first at that value, so a service
that follows the later period changes its points when the period turns, while the old ones live on,
and nothing when the value does.

Overview::

    LocalIntroPoints   points, and the descriptor that proves them
    IntroPointSource   the interface
    latest_live        what to report: of all sources, the latest period that has a live point
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Descriptor
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.time_period import TimePeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIntroPoints:
    """One service's introduction points on this node, and the descriptor that proves them."""

    points: tuple[IntroPoint, ...]  # descriptor order
    traits: ServiceTraits
    origin: OnionAddress | None  # whose descriptor lists them; None without one, as the next
    period: TimePeriod | None  # of the blinded key that signed the document
    document: bytes = field(compare=False)  # tor encodes it anew each time it is asked

    @classmethod
    def none(cls) -> LocalIntroPoints:
        """Say that this node surely holds none."""
        return cls(points=(), traits=ServiceTraits(), origin=None, period=None, document=b"")

    @classmethod
    def of(cls, descriptor: Descriptor, document: bytes) -> LocalIntroPoints:
        """Take all points of a descriptor, which was opened and verified."""
        return cls(
            points=descriptor.points,
            traits=descriptor.traits,
            origin=descriptor.address,
            period=descriptor.period,
            document=document,
        )

    def on(self, relays: Collection[Fingerprint]) -> LocalIntroPoints:
        """Keep the points at these relays."""
        return replace(self, points=tuple(p for p in self.points if p.relay in relays))


class IntroPointSource(Protocol):
    """Says which points a service has on this node, alive or not."""

    def listed(self, own: OnionAddress) -> LocalIntroPoints | None:
        """Return what is known of one of the node's own addresses; None if nothing is."""


def latest_live(
    listings: Iterable[LocalIntroPoints], live: Collection[Fingerprint]
) -> LocalIntroPoints:
    """Join what the sources list: of the latest period with a live point, its live points.

    :param listings: the most direct source first: of one period its word counts.
    :param live: relays with a circuit that stands.
    """
    alive = [found for listing in listings if (found := listing.on(live)).points]
    return max(alive, key=_period_number, default=LocalIntroPoints.none())


def _period_number(found: LocalIntroPoints) -> int:
    assert found.period is not None  # where there are points, a descriptor listed them
    return found.period.number
