"""The office holder's watch over backends: onion services that run no rbcluster.

It fetches each one's descriptor from HSDirs, a different one each time, and reports what is newer
than the last. HSDirs go on serving a service that is dead; its revision does not rise any more, and
after `stale_after` its points are taken off.

Not here: what may be reported (`core/backends.py`), and that it is then shown (`core/plan.py`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from rbcluster.agent.clock import Clock
from rbcluster.agent.office import PROPOSE_TIMEOUT_S, holds_office
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.backends import is_stale
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, ReportBackend
from rbcluster.core.ids import NodeId
from rbcluster.core.plan import ring_in_force
from rbcluster.core.state import BackendKey
from rbcluster.errors import DescriptorError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Descriptor, Standing, open_successor
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.instants import LONG_AGO, Monotonic
from rbcluster.raft.proposal import Outcome
from rbcluster.tor.descriptor_fetch import FetchOutcome

_LOG = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 15.0
RETRY_S = 5.0  # after an HSDir that had none, or an older one: the next is asked
MAX_AT_ONCE = 8  # fetches
LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class _Watch:
    """What is remembered of one backend from look to look."""

    due_at: Monotonic = LONG_AGO
    turn: int = 0  # how many HSDirs were asked
    num_failures: int = 0  # in a row


@dataclass(slots=True)
class BackendKeeper:
    """Keeps what is known of backends true, while this node holds the office."""

    node: NodeId
    cluster: Cluster
    tor: Tor
    clock: Clock
    wakeup: Wakeup
    _watches: dict[BackendKey, _Watch] = field(default_factory=dict)

    async def run(self) -> None:
        """Watch for ever, when in office."""
        while True:
            if holds_office(self.cluster, self.node):
                due = [key for key in self.cluster.state.backends if self._is_due(key)]
                await asyncio.gather(*map(self._look, due[:MAX_AT_ONCE]))
                await self._withdraw_stale()
            else:
                self._watches.clear()
            await self.wakeup.wait(LOOK_EVERY_S)

    def _is_due(self, key: BackendKey) -> bool:
        return self.clock.monotonic() >= self._watches.setdefault(key, _Watch()).due_at

    async def _look(self, key: BackendKey) -> None:
        """Ask one HSDir for a backend's descriptor, and report it if it is newer."""
        watch, hsdirs = self._watches[key], self._hsdirs(key[1])
        is_done = False
        if hsdirs:
            found = await self._fetch(key, hsdirs[watch.turn % len(hsdirs)])
            watch.turn += 1
            is_done = found is not None and await self._report(
                key, points=found.points, traits=found.traits, standing=Standing.of(found)
            )
        watch.num_failures = 0 if is_done else watch.num_failures + 1
        pause_s = self.cluster.state.policy.fetch_every_ms / 1000
        if 0 < watch.num_failures < len(hsdirs):
            pause_s = min(pause_s, RETRY_S)
        watch.due_at = Monotonic(self.clock.monotonic() + pause_s)

    def _hsdirs(self, backend: OnionAddress) -> tuple[Fingerprint, ...]:
        """Find who keeps the descriptor that clients see now; nobody without a consensus."""
        view = self.tor.consensus
        seen = ring_in_force(self.tor.slot_rings, view) if view is not None else None
        if seen is None:
            return ()
        return seen.ring.responsible(derive_blinded_key(backend.identity, seen.slot_time.period))

    async def _fetch(self, key: BackendKey, hsdir: Fingerprint) -> Descriptor | None:
        _, backend = key
        result = await self.tor.fetch(backend, hsdir, FETCH_TIMEOUT_S)
        consensus, known = self.tor.consensus, self.cluster.state.backends.get(key)
        if result.outcome is not FetchOutcome.FOUND or consensus is None or known is None:
            return None
        try:
            return open_successor(
                result.document, backend, consensus.candidate_periods, known.standing
            )
        except DescriptorError as error:
            _LOG.info("backend=%s: not accepted: %s", backend.shortened(), error)
            return None

    async def _report(
        self,
        key: BackendKey,
        *,
        points: tuple[IntroPoint, ...],
        traits: ServiceTraits,
        standing: Standing,
    ) -> bool:
        """Propose what is known of a backend now, if that is news; tell whether it is agreed on."""
        known = self.cluster.state.backends.get(key)
        if known is None or (known.standing == standing and points):
            return True
        service, backend = key
        command = ReportBackend(
            service=service,
            backend=backend,
            points=points,
            traits=traits,
            standing=standing,
            at=self.clock.wall_ms(),
            office_node=self.node,
            office_term=self.cluster.view.term,
        )
        result = await self.cluster.propose(encode_command(command), PROPOSE_TIMEOUT_S)
        is_taken = result.outcome is Outcome.COMMITTED and isinstance(result.verdict, Applied)
        if not is_taken:
            _LOG.info("ReportBackend was not taken: %s", result.detail or result.verdict)
        return is_taken

    async def _withdraw_stale(self) -> None:
        """Take the points of those off whose revision has not risen for too long."""
        state, now = self.cluster.state, self.clock.wall_ms()
        for key, known in state.backends.items():
            if known.standing is not None and is_stale(known, state.policy, now):
                _LOG.info("backend=%s: its revision has not risen for long", key[1].shortened())
                await self._report(key, points=(), traits=ServiceTraits(), standing=known.standing)
