"""Keeps a node's introduction points true: tor's events in, verified live points out.

It also counts visitors (`visitor_watcher.py`), who are told of by the same lines.

It joins the circuits that stand (`intro_watcher.py`) with the snapshots that tor gives
(`intro_source.py`), and reads each again when an event says so, or after a minute.

::

    CIRC, CIRC_MINOR, HS_DESC CREATED --> IntroWatch --> due now? --> GETINFO hs/service/desc/id
                                              |                            |
                                              +----- live relays ----------+--> live_points()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from rbcluster.errors import DecryptionError, DescriptorError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.instants import Monotonic
from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.framing import Event
from rbcluster.tor.hs_desc import HsDescAction, parse_hs_desc
from rbcluster.tor.intro_source import LocalIntroPoints, read_intro_points
from rbcluster.tor.intro_watcher import IntroWatch
from rbcluster.tor.settings import ServiceSettings
from rbcluster.tor.visitor_watcher import VisitorWatch

SAFETY_NET_S = 60.0  # ours: circuits and snapshots are read this often, whatever events said


class IntroFollower:
    """Introduction points of every service, through one control connection."""

    def __init__(
        self, services: tuple[ServiceSettings, ...], on_change: Callable[[], None]
    ) -> None:
        self._services = services
        self._on_change = on_change  # called whenever points may have changed
        self._watch = IntroWatch()
        self._visitors = VisitorWatch()
        self._snapshots: dict[str, LocalIntroPoints] = {}  # all points, by the address's label
        self._warnings: dict[str, str] = {}  # by the address's label
        self._wake = asyncio.Event()
        self._has_read_circuits = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each service whose snapshot can't be used."""
        return tuple(self._warnings.values())

    @property
    def num_visitors(self) -> int | None:
        """Visitors of these services who are connected now; None while that is not known."""
        labels = frozenset(service.address.label for service in self._services)
        return self._visitors.num_visitors(labels) if self._has_read_circuits else None

    def live_points(self, address: OnionAddress) -> LocalIntroPoints | None:
        """Return the points whose circuits stand, perhaps none; None while that is not known."""
        if not self._has_read_circuits:
            return None
        if address.label in self._warnings or not self._watch.has_circuit(address.label):
            return LocalIntroPoints.none()
        snapshot = self._snapshots.get(address.label)
        if snapshot is None:
            return None
        live = self._watch.live_relays(address.label)
        points = tuple(point for point in snapshot.points if point.relay in live)
        return replace(snapshot, points=points) if points else LocalIntroPoints.none()

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
        for service in self._services:
            self._watch = self._watch.after_rotation(service.address.label, now)
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
            for service in self._services:
                if service.address.label in due:
                    await self._read_snapshot(connection, service, view())
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

    async def _read_snapshot(
        self, connection: ControlConnection, service: ServiceSettings, view: ConsensusView | None
    ) -> None:
        label = service.address.label
        if view is None:  # no period to verify against: `read_again` comes with the first one
            return
        self._warnings.pop(label, None)
        snapshot = None
        try:
            snapshot = await read_intro_points(connection.getinfo, service.address, view)
        except DecryptionError:
            self._warnings[label] = (
                f"{service.directory}: tor's descriptor can't be opened; a service for authorized "
                "clients can't be merged yet, so remove its authorized_clients and restart tor"
            )
        except DescriptorError as error:
            self._warnings[label] = f"{service.directory}: tor's descriptor does not hold: {error}"
        if snapshot is None:
            self._snapshots.pop(label, None)
        else:
            self._snapshots[label] = snapshot

    async def _sleep_until(self, deadline: Monotonic) -> None:
        """Sleep until an event comes, or until an instant."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            return


def _now() -> Monotonic:
    return Monotonic(asyncio.get_running_loop().time())
