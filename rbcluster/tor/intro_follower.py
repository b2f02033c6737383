"""Keeps a node's introduction points true: tor's events in, verified live points out.

It also counts visitors (`visitor_watcher.py`), who are told of by the same lines.

It joins the circuits that stand (`intro_watcher.py`) with what the sources list: the snapshot that
tor gives (`intro_snapshot.py`), read again when an event says so, or after a minute; and, of an
instance, the descriptor that clients find (`intro_fetch.py`).

::

    CIRC, CIRC_MINOR, HS_DESC CREATED --> IntroWatch --> due now? --> GETINFO hs/service/desc/id
                                              |                            |
                                              |                     SnapshotSource, FetchedSource
                                              |                            |
                                              +----- live relays ----------+--> live_points()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.instants import Monotonic
from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.framing import Event
from rbcluster.tor.hs_desc import HsDescAction, parse_hs_desc
from rbcluster.tor.intro_fetch import FetchedSource
from rbcluster.tor.intro_snapshot import SnapshotSource
from rbcluster.tor.intro_source import IntroPointSource, LocalIntroPoints, latest_live
from rbcluster.tor.intro_watcher import IntroWatch
from rbcluster.tor.own_address import OwnAddresses
from rbcluster.tor.settings import Identity, ServiceSettings
from rbcluster.tor.visitor_watcher import VisitorWatch

SAFETY_NET_S = 60.0  # ours: circuits and snapshots are read this often, whatever events said


class IntroFollower:
    """Introduction points of every service, through one control connection."""

    def __init__(
        self,
        services: tuple[ServiceSettings, ...],
        fetched: FetchedSource,
        on_change: Callable[[], None],
    ) -> None:
        self._services = services
        self._on_change = on_change  # called whenever points may have changed
        self._own: OwnAddresses = {}
        self._snapshot = SnapshotSource()
        self._fetched = fetched
        self._sources: tuple[IntroPointSource, ...] = (self._snapshot, fetched)
        self._watch = IntroWatch()
        self._visitors = VisitorWatch()
        self._wake = asyncio.Event()
        self._has_read_circuits = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each service whose snapshot can't be used."""
        found = self._snapshot.warnings
        served = ((s.directory, self._own.get(s.address)) for s in self._services)
        return tuple(f"{path}: {found[own]}" for path, own in served if own and own in found)

    @property
    def num_visitors(self) -> int | None:
        """Visitors of these services who are connected now; None while that is not known."""
        labels = frozenset(own.label for own in self._own.values())
        return self._visitors.num_visitors(labels) if self._has_read_circuits else None

    @property
    def instances(self) -> tuple[OnionAddress, ...]:
        """The node's own addresses, of services that it serves as an instance."""
        instances = (s.address for s in self._services if s.identity is Identity.INSTANCE)
        return tuple(self._own[address] for address in instances if address in self._own)

    def own_address(self, address: OnionAddress) -> OnionAddress | None:
        """Return the address of its own under which the tor serves a service, if it has one."""
        own = self._own.get(address)
        return own if own in self.instances else None

    def serve_as(self, own: OwnAddresses) -> None:
        """Say under which addresses the tor serves."""
        if own != self._own:
            self._own = own
            self.read_again()

    def live_points(self, address: OnionAddress) -> LocalIntroPoints | None:
        """Return the points whose circuits stand, perhaps none; None while that is not known."""
        own = self._own.get(address)
        if own is None or not self._has_read_circuits:
            return None
        if own in self._snapshot.warnings or not self._watch.has_circuit(own.label):
            return LocalIntroPoints.none()
        is_waited_for = own in self.instances and not self._fetched.is_settled(own)
        if is_waited_for or self._snapshot.listed(own) is None:
            return None
        listings = (source.listed(own) for source in self._sources)
        live = self._watch.live_relays(own.label)
        return latest_live((listing for listing in listings if listing is not None), live)

    def on_event(self, event: Event) -> None:
        """Take in one event, in the order tor sent it; other kinds are no news."""
        now = _now()
        watch = self._watch
        if event.kind in {"CIRC", "CIRC_MINOR"}:
            watch = watch.after_circuit(event.text, now)
            self._visitors = self._visitors.after_circuit(event.text)
        elif (change := parse_hs_desc(event)) and change.action is HsDescAction.CREATED:
            watch = watch.after_rotation(change.service, now)
        if watch is not self._watch:
            self._watch = watch
            self._wake.set()

    def read_again(self) -> None:
        """Read every snapshot again: what they are verified against has changed."""
        now = _now()
        for own in self._own.values():
            self._watch = self._watch.after_rotation(own.label, now)
        self._wake.set()

    async def run(
        self, connection: ControlConnection, view: Callable[[], ConsensusView | None]
    ) -> NoReturn:
        """Follow tor until the connection fails. Events must have been asked for.

        :raises ControlPortError: then.
        """
        read_all_at = _now()
        while True:
            if _now() >= read_all_at:
                read_all_at = Monotonic(_now() + SAFETY_NET_S)
                await self._read_circuits(connection)
                self.read_again()
            self._wake.clear()
            self._watch, due = self._watch.tick(_now())
            current = view()
            for own in self._own.values():
                # Without a period to verify against: `read_again` comes with the first one.
                if own.label in due and current is not None:
                    await self._snapshot.read(connection.getinfo, own, current)
            self._on_change()
            await self._sleep_until(min(self._watch.next_deadline() or read_all_at, read_all_at))

    async def _read_circuits(self, connection: ControlConnection) -> None:
        self._watch = self._watch.before_snapshot()
        self._visitors = self._visitors.before_snapshot()
        circuits = await connection.getinfo("circuit-status")
        lines = circuits.decode("utf-8", "replace").splitlines()
        self._watch = self._watch.after_snapshot(lines, _now())
        self._visitors = self._visitors.after_snapshot(lines)
        self._has_read_circuits = True

    async def _sleep_until(self, deadline: Monotonic) -> None:
        """Sleep until an event comes, or until an instant."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            return


def _now() -> Monotonic:
    return Monotonic(asyncio.get_running_loop().time())
