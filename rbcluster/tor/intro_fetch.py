"""An instance's introduction points as clients find them: fetched from HSDirs, and verified.

After the time period has turned, clients see the second of the two descriptors that tor publishes,
of which it tells nothing by GETINFO. So it is fetched, from an HSDir that has just taken it. It is
accepted only for the blinded key in force, and never an older one than the last: HSDirs go on
serving what they were given. Whether its points are alive, circuits say.

Not here: whom to ask and when (`fetch_watcher.py`); which source counts (`intro_source.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import NoReturn

from rbcluster.core.plan import ring_in_force
from rbcluster.errors import DescriptorError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Standing, open_successor
from rbcluster.hs.time_period import DescriptorSlot
from rbcluster.instants import Monotonic
from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.descriptor_fetch import FetchOutcome, fetch_descriptor
from rbcluster.tor.fetch_watcher import Aim, FetchWatch
from rbcluster.tor.hs_desc import HsDescEvent
from rbcluster.tor.hsdir_exchange import HsDirExchange
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.network_view import Network

_LOG = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 15.0  # another HSDir is as good
FAILURES_UNTIL_SETTLED = 2  # then the snapshot has to do until a fetch succeeds


class FetchedSource:
    """The last descriptor fetched of each of the node's own addresses.

    It outlives control connections: one that comes back changes nothing outside.
    """

    def __init__(self, exchange: HsDirExchange, on_change: Callable[[], None]) -> None:
        self._exchange = exchange
        self._on_change = on_change  # called when a descriptor was accepted
        self._network: Network | None = None
        self._watches: dict[OnionAddress, FetchWatch] = {}
        self._accepted: dict[OnionAddress, tuple[Standing, LocalIntroPoints]] = {}
        self._settled: set[OnionAddress] = set()
        self._wake = asyncio.Event()

    def listed(self, own: OnionAddress) -> LocalIntroPoints | None:
        """Return all points of the last descriptor accepted; None if there was none."""
        held = self._accepted.get(own)
        return held[1] if held else None

    def is_settled(self, own: OnionAddress) -> bool:
        """Tell whether it has been found out once what clients see, or that it can't be.

        Until then a node that was only restarted would show its older points for a moment.
        """
        return own in self._settled

    def follow(self, addresses: Iterable[OnionAddress], network: Network | None) -> None:
        """Say what to fetch, and by which consensus."""
        now = _now()
        aims = {own: _aim(own, network) for own in addresses}
        self._network = network
        self._watches = {
            own: self._watches.get(own, FetchWatch()).aimed_at(aim, now)
            for own, aim in aims.items()
        }
        if network is not None:
            self._settled.update(own for own, aim in aims.items() if aim is None)
        self._wake.set()

    def on_event(self, event: HsDescEvent) -> None:
        """Take in one event, in the order tor sent it."""
        for own, watch in self._watches.items():
            if own.label == event.service:
                self._watches[own] = watch.after_event(event, _now())
                self._wake.set()

    async def run(self, connection: ControlConnection) -> NoReturn:
        """Fetch what is due, for as long as the connection lasts."""
        try:
            async with asyncio.TaskGroup() as fetches:
                while True:
                    self._wake.clear()
                    now = _now()
                    for own, watch in self._watches.items():
                        if (hsdir := watch.next_fetch(now)) is not None:
                            self._watches[own] = watch.fetching()
                            fetches.create_task(self._fetch(connection, own, hsdir))
                    await self._sleep()
        finally:
            self._watches = {}  # what tor tells until it is followed again is not heard

    async def _fetch(
        self, connection: ControlConnection, own: OnionAddress, hsdir: Fingerprint
    ) -> None:
        result = await fetch_descriptor(
            connection, self._exchange, own, hsdir, timeout_s=FETCH_TIMEOUT_S
        )
        found = result.outcome is FetchOutcome.FOUND and self.offer(own, result.document)
        if (watch := self._watches.get(own)) is None:
            return
        now = _now()
        self._watches[own] = watch = watch.after_fetch(hsdir, found=found, now=now)
        if own not in self._settled and (found or watch.num_failures >= FAILURES_UNTIL_SETTLED):
            self._settled.add(own)
            self._on_change()
        self._wake.set()

    def offer(self, own: OnionAddress, document: bytes) -> bool:
        """Take a descriptor of one of the node's own addresses, if it holds and is not too old.

        :returns: whether it did.
        """
        if self._network is None:
            return False
        last = self._accepted.get(own)
        try:
            descriptor = open_successor(
                document, own, self._network.view.candidate_periods, last[0] if last else None
            )
        except DescriptorError as error:
            _LOG.info("a fetched descriptor of this node's own was not accepted: %s", error)
            return False
        self._accepted[own] = Standing.of(descriptor), LocalIntroPoints.of(descriptor, document)
        self._on_change()
        return True

    async def _sleep(self) -> None:
        """Sleep until something happens, or the next fetch is due."""
        due = [watch.due_at for watch in self._watches.values() if watch.due_at is not None]
        try:
            async with asyncio.timeout_at(min(due, default=None)):
                await self._wake.wait()
        except TimeoutError:
            return


def _now() -> Monotonic:
    return Monotonic(asyncio.get_running_loop().time())


def _aim(own: OnionAddress, network: Network | None) -> Aim | None:
    """Find what clients see of an address, if that is not its first descriptor.

    The first is what tor's snapshot shows.
    """
    if network is None:
        return None
    seen = ring_in_force(network.slot_rings, network.view)
    if seen is None or seen.slot_time.slot is not DescriptorSlot.SECOND:
        return None
    blinded = derive_blinded_key(own.identity, seen.slot_time.period)
    return Aim(blinded=blinded, hsdirs=seen.ring.responsible(blinded))
