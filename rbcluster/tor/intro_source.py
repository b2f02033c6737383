"""Where a node's introduction points come from: its own tor's snapshot, verified.

Tor re-encodes the descriptor it would publish now. It is trusted only after its signatures and
certificates hold and its blinded key belongs to the service.

Not here: whether the points are alive (`intro_watcher.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.descriptor import find_period, open_descriptor
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.connection import RequestRefused

GetInfo = Callable[[str], Awaitable[bytes]]
"""Ask tor for one value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIntroPoints:
    """One service's introduction points on this node, and the descriptor that proves them."""

    points: tuple[IntroPoint, ...]  # descriptor order; those alive
    traits: ServiceTraits
    period: TimePeriod | None  # of the blinded key that signed the document; None without one
    document: bytes = field(compare=False)  # tor encodes it anew each time it is asked

    @classmethod
    def none(cls) -> LocalIntroPoints:
        """Say that this node surely holds none."""
        return cls(points=(), traits=ServiceTraits(), period=None, document=b"")


async def read_intro_points(
    getinfo: GetInfo, address: OnionAddress, view: ConsensusView
) -> LocalIntroPoints | None:
    """Read and verify what tor would publish for a service now.

    :param view: the newest consensus known; its period and both neighbours are tried.
    :returns: all points of the snapshot, alive or not; None if tor has no descriptor yet.
    :raises DescriptorError: if the snapshot does not hold.
    :raises ControlPortError: if tor doesn't answer.
    """
    try:
        document = await getinfo(f"hs/service/desc/id/{address.label}")
    except RequestRefused:
        return None
    period = find_period(document, address, view.candidate_periods)
    descriptor = open_descriptor(document, address, period)
    return LocalIntroPoints(
        points=descriptor.points, traits=descriptor.traits, period=period, document=document
    )
