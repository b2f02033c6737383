"""Keeps this node's entries in the pool equal to what its tor holds.

Level-triggered: whatever changed, compare the pool with the truth, and propose the difference.
A tor that says that no circuit stands loses its place at once; one that says nothing, because it is
only being reconnected to, keeps it for a moment. Each service for itself: one whose points are not
known, or whose report is refused, costs no other its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from rbcluster.agent.clock import Clock
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.agent.wakeup import Wakeup
from rbcluster.complaint import Complaint
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, ReportIntroPoints
from rbcluster.core.ids import NodeId
from rbcluster.core.state import NodeReport
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.instants import LONG_AGO, Monotonic
from rbcluster.raft.proposal import Outcome
from rbcluster.tor.intro_source import LocalIntroPoints

_LOG = logging.getLogger(__name__)

RECONNECT_GRACE_S = 2.0  # a control connection that comes back sooner changes nothing outside
START_GRACE_S = 10.0  # ... and so it is with our own restart: time to find tor again
PROPOSE_TIMEOUT_S = 5.0
RETRY_S = 1.0  # after a report that was refused or got lost
IDLE_S = 30.0  # looks again though no bell rang


@dataclass(slots=True)
class _Place:
    """What is remembered of one service's place in the pool from look to look."""

    complaint: Complaint
    unknown_since: Monotonic | None  # None: tor tells its points
    grace_s: float = START_GRACE_S
    retry_at: Monotonic = LONG_AGO

    def is_given_up(self, local: LocalIntroPoints | None, now: Monotonic) -> bool:
        """Tell whether its points have not been known for too long."""
        if local is not None:
            self.grace_s, self.unknown_since = RECONNECT_GRACE_S, None
            return False
        if self.unknown_since is None:
            self.unknown_since = now  # counts from here: the last look may be long ago
        return now >= self.unknown_since + self.grace_s


@dataclass(slots=True)
class Reporter:
    """Reports one node's introduction points."""

    node: NodeId
    cluster: Cluster
    tor: Tor
    clock: Clock
    wakeup: Wakeup
    _places: dict[OnionAddress, _Place] = field(default_factory=dict)

    async def run(self) -> None:
        """Report for ever."""
        started_at = self.clock.monotonic()
        while True:
            settled = bool(services := tuple(self._services()))
            for service in services:
                place = self._place(service, started_at)
                local, now = self.tor.intro_points(service), self.clock.monotonic()
                is_due = place.is_given_up(local, now) or local is not None
                if is_due and now >= place.retry_at:
                    settled &= await self._report_difference(service, local, place)
                else:
                    settled = False
            await self.wakeup.wait(IDLE_S if settled else RETRY_S)

    def _place(self, service: OnionAddress, started_at: Monotonic) -> _Place:
        if service not in self._places:
            name = self.cluster.state.services[service]
            subject = f"service={name}: a report of its points is not taken (it is tried again)"
            self._places[service] = _Place(Complaint(_LOG, subject), started_at)
        return self._places[service]

    def _services(self) -> Iterable[OnionAddress]:
        """List the services to report for: none before this node is a member."""
        state = self.cluster.state
        return state.services if self.node in state.members else ()

    async def _report_difference(
        self, service: OnionAddress, local: LocalIntroPoints | None, place: _Place
    ) -> bool:
        """Propose what differs; tell whether the pool now says what tor does."""
        entry = self.cluster.state.pool.get((service, self.node))
        return _same(entry, local) or await self._report(service, local, place)

    async def _report(
        self, address: OnionAddress, local: LocalIntroPoints | None, place: _Place
    ) -> bool:
        command = ReportIntroPoints(
            node=self.node,
            service=address,
            origin=(local.origin if local else None) or address,
            points=local.points if local else (),
            traits=local.traits if local else ServiceTraits(),
            descriptor=local.document if local and local.points else b"",
            reported_at=self.clock.wall_ms(),
        )
        result = await self.cluster.propose(encode_command(command), PROPOSE_TIMEOUT_S)
        name = self.cluster.state.services.get(address)
        if result.outcome is Outcome.COMMITTED and isinstance(result.verdict, Applied):
            _LOG.info("service=%s reported introduction points: num=%d", name, len(command.points))
            place.complaint.note("", now=self.clock.monotonic())
            return True
        place.complaint.note(result.detail or str(result.verdict), now=self.clock.monotonic())
        if result.outcome is Outcome.COMMITTED:  # refused by a rule; and the commit rang the bell
            place.retry_at = Monotonic(self.clock.monotonic() + RETRY_S)
        return False


def _same(entry: NodeReport | None, local: LocalIntroPoints | None) -> bool:
    """Tell whether the pool already says what tor holds."""
    if entry is None or local is None or not local.points:
        return entry is None and (local is None or not local.points)
    return (
        set(entry.points) == set(local.points)
        and entry.traits == local.traits
        and entry.origin == local.origin
    )
