"""A running controller, for tests that wait for what it comes to know."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.tor.controller import TorController
from rbcluster.tor.settings import ServiceSettings, TorSettings


class Watched:
    """A running controller, and a way to wait for what it comes to know."""

    def __init__(self, settings: TorSettings, service: ServiceSettings) -> None:
        self.num_changes = 0
        self._address = service.address
        self._changed = asyncio.Event()
        self.tor = TorController(settings, (service,), self._on_change)

    def _on_change(self) -> None:
        self.num_changes += 1
        self._changed.set()

    @property
    def relays(self) -> tuple[Fingerprint, ...] | None:
        """The relays of the points on offer; empty: surely none, None: not known."""
        found = self.tor.intro_points(self._address)
        return None if found is None else tuple(point.relay for point in found.points)

    async def until(self, condition: Callable[[], bool], limit_s: float = 20) -> None:
        """Wait for a condition, looking only when `on_change` says so."""
        async with asyncio.timeout(limit_s):
            while not condition():
                await self.change()

    async def change(self) -> None:
        """Wait for the next change."""
        self._changed.clear()
        await self._changed.wait()

    async def fault(self, text: str, limit_s: float = 20) -> str:
        await self.until(lambda: any(text in fault for fault in self.tor.status.faults), limit_s)
        (fault,) = self.tor.status.faults
        return fault


@contextlib.asynccontextmanager
async def running_controller(
    settings: TorSettings, service: ServiceSettings
) -> AsyncIterator[Watched]:
    """Run a controller of one service while the context lasts."""
    watched = Watched(settings, service)
    running = asyncio.create_task(watched.tor.run())
    try:
        yield watched
    finally:
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
