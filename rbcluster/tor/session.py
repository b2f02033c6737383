"""All that goes on over one control connection, from authentication until it is lost.

Tor's events drive it; a slow round of questions behind them catches what an event might have
missed. A probe every second notices a tor that hangs.

Not here: connecting again (`controller.py`).

::

    authenticate -> SETEVENTS -> options -> +- connection.ended
                                            +- probe               does tor answer?
                                            +- options             CONF_CHANGED
                                            +- ConsensusFollower   NEWCONSENSUS
                                            +- IntroFollower       CIRC, CIRC_MINOR, HS_DESC
                                            +- FetchedSource       HS_DESC, HS_DESC_CONTENT
    the first of them to fail ends the session with its reason
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import NoReturn

from rbcluster.errors import ControlPortError, TorError
from rbcluster.tor.authentication import authenticate
from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.consensus_follower import ConsensusFollower
from rbcluster.tor.framing import Event
from rbcluster.tor.hs_desc import parse_hs_desc
from rbcluster.tor.hsdir_exchange import HsDirExchange
from rbcluster.tor.intro_fetch import FetchedSource
from rbcluster.tor.intro_follower import SAFETY_NET_S, IntroFollower
from rbcluster.tor.network_view import Network
from rbcluster.tor.options import (
    Options,
    find_faults,
    find_unpublished,
    is_testing_network,
    read_options,
)
from rbcluster.tor.own_address import find_own_addresses
from rbcluster.tor.settings import ServiceSettings, TorStatus

_EVENTS = "CIRC CIRC_MINOR HS_DESC HS_DESC_CONTENT CONF_CHANGED NEWCONSENSUS STATUS_CLIENT"
_PROBE_EVERY_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_PROGRESS = re.compile(r"\bBOOTSTRAP PROGRESS=(\d{1,3})\b")


class TorSession:
    """What is known of tor through one connection; stale once `run` has ended."""

    def __init__(
        self,
        services: tuple[ServiceSettings, ...],
        exchange: HsDirExchange,
        fetched: FetchedSource,
        network: Network | None,
        on_change: Callable[[], None],
    ) -> None:
        """Begin with nothing known but the network of an earlier session, and what it fetched."""
        self.intro = IntroFollower(services, fetched, on_change)
        self._fetched = fetched
        self.consensus = ConsensusFollower(network, self._on_consensus)
        self._services = services
        self._exchange = exchange
        self._on_change = on_change
        self._version: str | None = None
        self._is_ready = False
        self._bootstrapped = 0
        self._options: Options = ()
        self._options_wake = asyncio.Event()
        self._faults: tuple[str, ...] = ()
        self._unpublished: tuple[str, ...] = ()

    @property
    def status(self) -> TorStatus:
        """What an operator must know of tor now."""
        consensus_warning = (self.consensus.warning,) if self.consensus.warning else ()
        return TorStatus(
            connected=self._is_ready,
            version=self._version,
            bootstrapped=self._bootstrapped,
            faults=self._faults,
            warnings=(*self.intro.warnings, *consensus_warning, *self._unpublished),
        )

    async def run(self, connection: ControlConnection, password: str | None) -> NoReturn:
        """Follow tor until the connection fails.

        :raises TorError: then, with the reason.
        """
        self._version = await authenticate(connection, password)
        await connection.request(f"SETEVENTS {_EVENTS}")  # first: no change may fall in between
        await self._check_options(connection)
        self._is_ready = True
        self._on_change()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(connection.ended())
                tasks.create_task(self._probe(connection))
                tasks.create_task(self._follow_options(connection))
                tasks.create_task(
                    self.consensus.run(
                        connection, testing_network=is_testing_network(self._options)
                    )
                )
                tasks.create_task(self.intro.run(connection, lambda: self.consensus.view))
                tasks.create_task(self._fetched.run(connection))
        except BaseExceptionGroup as group:
            reasons, bugs = group.split(TorError)
            if bugs is not None or reasons is None:
                raise
            raise _first_of(reasons) from group
        raise AssertionError("a session ends by an error")

    def on_event(self, event: Event) -> None:
        """Take in one event, in the order tor sent it."""
        match event.kind:
            case "CONF_CHANGED":
                self._options_wake.set()
            case "NEWCONSENSUS":
                self.consensus.on_new_consensus()
            case "STATUS_CLIENT":
                self._read_bootstrap(event.text)
            case _:
                self.intro.on_event(event)
                if answer := parse_hs_desc(event):
                    self._fetched.on_event(answer)
                    self._exchange.deliver(answer)

    def _on_consensus(self) -> None:
        self.intro.read_again()
        self._fetched.follow(self.intro.instances, self.consensus.network)
        self._on_change()

    async def _probe(self, connection: ControlConnection) -> NoReturn:
        """Ask tor a small question every second.

        :raises ControlPortError: if for two seconds nothing at all was heard from it.
        """
        while True:
            asked_at = asyncio.get_running_loop().time()
            try:
                phase = await connection.getinfo(
                    "status/bootstrap-phase", timeout_s=_PROBE_TIMEOUT_S
                )
            except ControlPortError:
                if connection.heard_at < asked_at:
                    raise
            else:
                self._read_bootstrap(phase.decode("utf-8", "replace"))
            await asyncio.sleep(_PROBE_EVERY_S)

    def _read_bootstrap(self, text: str) -> None:
        match = _PROGRESS.search(text)
        if match is not None and int(match[1]) != self._bootstrapped:
            self._bootstrapped = int(match[1])
            if self._is_ready:
                self._on_change()

    async def _follow_options(self, connection: ControlConnection) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(SAFETY_NET_S):
                    await self._options_wake.wait()
            except TimeoutError:
                pass
            self._options_wake.clear()
            await self._check_options(connection)
            self._on_change()

    async def _check_options(self, connection: ControlConnection) -> None:
        self._options = await read_options(connection)
        own, faults = find_own_addresses(self._services)
        self.intro.serve_as(own)
        self._fetched.follow(self.intro.instances, self.consensus.network)
        self._faults = (*find_faults(self._options, self._services), *faults)
        self._unpublished = find_unpublished(self._options, self._services)


def _first_of(group: BaseExceptionGroup[TorError]) -> TorError:
    """Return one error of a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TorError)
    return error
