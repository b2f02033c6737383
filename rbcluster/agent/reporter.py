"""Keeps this node's entries in the pool equal to what its tor holds.

Level-triggered: whatever changed, compare the pool with the truth, and propose the difference.
A tor that is only being reconnected to keeps its place for a moment; one that stays away, or
answers that no circuit stands, loses it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from rbcluster.agent.clock import Clock
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, ReportIntroPoints
from rbcluster.core.ids import NodeId
from rbcluster.core.state import NodeReport
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.raft.engine import Outcome
from rbcluster.tor.controller import LocalIntroPoints

_LOG = logging.getLogger(__name__)

RECONNECT_GRACE_S = 2.0  # a control connection that comes back sooner changes nothing outside
START_GRACE_S = 10.0  # ... and so it is with our own restart: time to find tor again
PROPOSE_TIMEOUT_S = 5.0
RETRY_S = 1.0  # after a report that was refused or got lost
IDLE_S = 30.0  # looks again though no bell rang


@dataclass(frozen=True, slots=True)
class Reporter:
    """Reports one node's introduction points."""

    node: NodeId
    cluster: Cluster
    tor: Tor
    clock: Clock
    wakeup: Wakeup

    async def run(self) -> None:
        """Report for ever."""
        grace_ends = self.clock.monotonic() + START_GRACE_S
        while True:
            now = self.clock.monotonic()
            if self.tor.status.ready:
                grace_ends = now + RECONNECT_GRACE_S
            waiting = not self.tor.status.ready and now < grace_ends
            settled = not waiting and await self._report_all()
            await self.wakeup.wait(IDLE_S if settled else RETRY_S)

    async def _report_all(self) -> bool:
        """Propose what differs; tell whether the pool now says the truth."""
        state = self.cluster.state
        if self.node not in state.members:
            return False
        settled = True
        for address in state.services:
            local = self.tor.intro_points(address)
            if not _same(state.pool.get((address, self.node)), local):
                settled &= await self._report(address, local)
        return settled

    async def _report(self, address: OnionAddress, local: LocalIntroPoints | None) -> bool:
        command = ReportIntroPoints(
            node=self.node,
            service=address,
            points=local.points if local else (),
            traits=local.traits if local else ServiceTraits(),
            descriptor=local.document if local and local.points else b"",
            reported_at=self.clock.wall_ms(),
        )
        result = await self.cluster.propose(encode_command(command), PROPOSE_TIMEOUT_S)
        if result.outcome is Outcome.COMMITTED and isinstance(result.verdict, Applied):
            _LOG.info("reported introduction points: num=%d", len(command.points))
            return True
        _LOG.warning(
            "a report of introduction points was not taken (it is tried again): %s",
            result.detail or result.verdict,
        )
        return False


def _same(entry: NodeReport | None, local: LocalIntroPoints | None) -> bool:
    """Tell whether the pool already says what tor holds."""
    if entry is None or local is None or not local.points:
        return entry is None and (local is None or not local.points)
    return set(entry.points) == set(local.points) and entry.traits == local.traits
