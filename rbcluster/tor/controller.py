"""The node's tor, as the agent sees it: status, consensus, introduction points, uploads, fetches.

It keeps a session with tor alive for ever: starts a managed tor that is gone, connects again with
back-off, and says in one sentence what is wrong while there is none.

Overview::

    TorController
      |- run()                    supervise; never returns
      |- status, consensus        what is known now
      |- intro_points(address)    this node's live points, or None
      |- num_visitors             who are connected now, or None
      |- upload(...), fetch(...)  one descriptor to or from one HSDir
      +- on_change                called when any of the first three has changed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from rbcluster.core.plan import SlotRing
from rbcluster.errors import TorError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.descriptor_fetch import (
    FETCH_TIMEOUT_S,
    FetchOutcome,
    FetchResult,
    fetch_descriptor,
)
from rbcluster.tor.descriptor_upload import (
    UPLOAD_TIMEOUT_S,
    UploadOutcome,
    UploadResult,
    always,
    upload_descriptor,
)
from rbcluster.tor.hsdir_exchange import HsDirExchange
from rbcluster.tor.intro_fetch import FetchedSource
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.managed_tor import ManagedTor
from rbcluster.tor.network_view import Network
from rbcluster.tor.session import TorSession
from rbcluster.tor.settings import ServiceSettings, TorMode, TorSettings, TorStatus

_BACKOFF_MIN_S = 0.25
_BACKOFF_MAX_S = 10.0
_SETTLED_S = 30.0  # a session of this length proves tor well, and the back-off begins anew

_log = logging.getLogger(__name__)


class TorController:
    """Supervises the node's tor; all of it within one asyncio loop."""

    def __init__(
        self,
        settings: TorSettings,
        services: tuple[ServiceSettings, ...],
        on_change: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._services = services
        self._served = frozenset(service.address for service in services)
        self._on_change = on_change
        self._managed = ManagedTor(settings, services) if settings.mode is TorMode.MANAGED else None
        self._exchange = HsDirExchange()
        self._fetched = FetchedSource(self._exchange, self._announce)
        self._connection: ControlConnection | None = None
        self._session = self._new_session(None)
        self._failure: str | None = "tor has not been contacted yet"  # None: in a session
        self._told: object = None  # what was last announced
        self._logged: tuple[str, ...] = ()

    @property
    def status(self) -> TorStatus:
        """Tor's status at this moment."""
        status = self._session.status
        if self._failure is None:
            return status
        return TorStatus(version=status.version, faults=(self._failure,))

    @property
    def consensus(self) -> ConsensusView | None:
        """The newest consensus known, though it may have expired; None before the first."""
        return self._session.consensus.view

    @property
    def slot_rings(self) -> tuple[SlotRing, ...]:
        """The HSDirs of `consensus` on the rings of both slots; empty before the first."""
        network = self._session.consensus.network
        return network.slot_rings if network is not None else ()

    def intro_points(self, address: OnionAddress) -> LocalIntroPoints | None:
        """Return this node's live introduction points for a service.

        :returns: perhaps no points, as always while tor's options are wrong or for a service that
            this tor does not serve; None while nothing is known: between two sessions, and at the
            start of one.
        """
        if address not in self._served:
            return LocalIntroPoints.none()
        if self._failure is not None:
            return None
        if self.status.faults:
            return LocalIntroPoints.none()
        return self._session.intro.live_points(address)

    def offer(self, address: OnionAddress, document: bytes) -> bool:
        """Take a descriptor that was fetched elsewhere of the address this tor serves under.

        :returns: whether it holds, and is not older than the last.
        """
        own = self._session.intro.own_address(address)
        return own is not None and self._fetched.offer(own, document)

    @property
    def num_visitors(self) -> int | None:
        """How many visitors are connected to this node's services; None while that is not known."""
        return self._session.intro.num_visitors if self._failure is None else None

    async def upload(
        self,
        address: OnionAddress,
        document: bytes,
        hsdir: Fingerprint,
        may_send: Callable[[], bool] = always,
        timeout_s: float = UPLOAD_TIMEOUT_S,
    ) -> UploadResult:
        """Upload a descriptor to one HSDir and wait for its answer.

        :param may_send: asked just before anything is sent; uploads to one HSDir wait in turn.
        :raises DescriptorError: if `document` is no descriptor.
        """
        if self._connection is None or not self.status.is_usable:
            return UploadResult(UploadOutcome.NOT_SENT, self._reason())
        return await upload_descriptor(
            self._connection,
            self._exchange,
            address,
            document,
            hsdir,
            may_send=may_send,
            timeout_s=timeout_s,
        )

    async def fetch(
        self, address: OnionAddress, hsdir: Fingerprint, timeout_s: float = FETCH_TIMEOUT_S
    ) -> FetchResult:
        """Fetch a service's descriptor of the current period from one HSDir; it is not verified."""
        if self._connection is None or not self.status.connected:
            return FetchResult(FetchOutcome.NO_ANSWER, self._reason())
        return await fetch_descriptor(
            self._connection, self._exchange, address, hsdir, timeout_s=timeout_s
        )

    async def run(self) -> NoReturn:
        """Keep a session with tor, for ever. Cancelled, it leaves a managed tor running."""
        loop, backoff_s = asyncio.get_running_loop(), _BACKOFF_MIN_S
        while True:
            began_at = loop.time()
            try:
                if self._managed is not None:
                    await self._managed.ensure_running()
                await self._hold_session()
            except TorError as error:
                self._failure = str(error)
            except Exception:  # noqa: BLE001 - a supervisor: nobody is there to restart it
                _log.exception("a bug: the session with tor failed and is begun anew; report it")
                self._failure = "a bug ended the session with tor, see the log; it is begun anew"
            self._announce()
            if loop.time() - began_at > _SETTLED_S:
                backoff_s = _BACKOFF_MIN_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    async def _hold_session(self) -> None:
        session = self._new_session(self._session.consensus.network)
        async with open_connection(self._settings.endpoint, session.on_event) as connection:
            self._session = session
            self._connection = connection
            try:
                await session.run(connection, self._settings.password)
            finally:
                self._failure = "the session with tor has ended"  # until the reason is known
                self._connection = None
                self._exchange.connection_lost()

    def _new_session(self, network: Network | None) -> TorSession:
        return TorSession(
            self._services, self._exchange, self._fetched, network, self._on_session_change
        )

    def _on_session_change(self) -> None:
        self._failure = None
        self._announce()

    def _announce(self) -> None:
        """Call `on_change` if anything has changed, and log what an operator should read once."""
        status = self.status
        points = tuple(self.intro_points(service.address) for service in self._services)
        told = (status, self.consensus, points)
        if told == self._told:
            return
        self._told = told
        self._log_status(status)
        self._on_change()

    def _log_status(self, status: TorStatus) -> None:
        """Log the faults. A warning may pass by itself: who asks for the status sees to it."""
        for fault in status.faults:
            if fault not in self._logged:
                _log.warning("tor: %s", fault)
        if self._logged and not status.faults:
            _log.info("tor: all is well again, version=%s", status.version)
        self._logged = status.faults

    def _reason(self) -> str:
        return next(iter(self.status.faults), "tor is not connected")
