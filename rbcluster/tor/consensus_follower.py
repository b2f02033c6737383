"""Keeps the node's view of the consensus fresh.

Tor tells of a new consensus at once, and nothing of the microdescriptors that come after it, some
seconds later. A view without them puts descriptors in the wrong places of the hash ring, so it is
read again until it holds still, and one that lost many HSDirs at once waits for a second reading.

Not here: reading one (`network_view.py`); whether it is live.

::

    NEWCONSENSUS --> read --> much smaller than the view held, or the first one?
                      ^          | no: take it         | yes: take it if the last reading agrees
                      |          v                     v
                      +-- 1, 3, 15, 60 s after the last change, then only if its time has changed
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC
from typing import NoReturn

from rbcluster.errors import ConsensusUnavailable, ParseError
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.tor.connection import ControlConnection, RequestRefused
from rbcluster.tor.network_view import Network, read_network

_READ_AGAIN_AFTER_S = (1.0, 3.0, 15.0, 60.0)  # each after the one before
_RETRY_S = 2.0  # while there is none
_SAFETY_NET_S = 60.0  # how often tor is asked for the time of its consensus, whatever events said
_DOCUMENT_TIMEOUT_S = 60.0  # for megabytes of microdescriptors from a busy tor
_WHOLE = 0.9  # ours: between two consensuses far less than a tenth of the HSDirs change


class ConsensusFollower:
    """The consensus, through one control connection."""

    def __init__(self, network: Network | None, on_change: Callable[[], None]) -> None:
        """Begin with the last one of an earlier connection, if there was one."""
        self.network = network
        self.warning = ""  # why there is no newer one
        self._on_change = on_change  # called when network or warning have changed
        self._reading: Network | None = None  # the last one, taken or not
        self._wake = asyncio.Event()

    @property
    def view(self) -> ConsensusView | None:
        """The newest consensus known; None before the first."""
        return self.network.view if self.network is not None else None

    def on_new_consensus(self) -> None:
        """Read it: tor has said NEWCONSENSUS."""
        self._wake.set()

    async def run(self, connection: ControlConnection, *, testing_network: bool) -> NoReturn:
        """Follow tor until the connection fails.

        :raises ControlPortError: then.
        """
        num_same = 0  # readings in a row that found nothing new
        while True:
            self._wake.clear()
            network, warning = self.network, self.warning
            has_changed = await self._read(connection, testing_network=testing_network)
            if self.network is not network or self.warning != warning:
                self._on_change()
            num_same = 0 if has_changed else num_same + 1
            if self.warning:
                await self._sleep(_RETRY_S)
            elif num_same < len(_READ_AGAIN_AFTER_S):
                await self._sleep(_READ_AGAIN_AFTER_S[num_same])
            else:
                while await self._sleep(_SAFETY_NET_S) and not await self._is_outdated(connection):
                    pass

    async def _read(self, connection: ControlConnection, *, testing_network: bool) -> bool:
        """Read the consensus, take it if it is whole, and return whether it was another one."""

        async def getinfo(key: str) -> bytes:
            return await connection.getinfo(key, timeout_s=_DOCUMENT_TIMEOUT_S)

        try:
            reading = await read_network(getinfo, self._reading, testing_network=testing_network)
        except (ConsensusUnavailable, ParseError) as error:
            self.warning = str(error)
            return False
        if not reading.view.hsdirs:
            self.warning = "tor has a consensus, but no microdescriptor of any HSDir yet"
            return False
        self.warning = ""
        has_changed = reading is not self._reading
        self._reading = reading
        num_held = len(self.view.hsdirs) if self.view is not None else 0
        if not has_changed or (num_held and len(reading.view.hsdirs) >= _WHOLE * num_held):
            self.network = reading
        return has_changed

    async def _sleep(self, seconds: float) -> bool:
        """Sleep until tor has a new consensus; return whether the time went by without one."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return True
        return False

    async def _is_outdated(self, connection: ControlConnection) -> bool:
        """Ask tor for the time of its consensus: a safety net below NEWCONSENSUS."""
        try:
            valid_after = await connection.getinfo("consensus/valid-after")
        except RequestRefused:
            return True
        if self._reading is None:
            return True
        held = f"{self._reading.view.valid_after.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
        return valid_after.decode("ascii", "replace").strip() != held
