"""One node: its parts, joined, and the loops that keep them going.

::

    tor ──points──> Reporter ──report──┐
    peers ──heartbeats──> OfficeKeeper ─┤ propose        ┌─ apply ─> ClusterState (every node)
                          Publisher ────┴──────> Raft ───┘                 │
                             ^                                            plan
                             └──────────── decide what to upload <─────────┘

The loops are level-triggered: any change rings every bell. A loop that meets a bug logs it and
goes on; nothing short of the process's end stops the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from rbcluster import __version__
from rbcluster.agent.backend_keeper import BackendKeeper
from rbcluster.agent.clock import Clock
from rbcluster.agent.heartbeat import (
    HEARTBEAT_EVERY_S,
    MAX_SENTENCES,
    Heartbeat,
    TorSummary,
)
from rbcluster.agent.keyring import Keyring
from rbcluster.agent.machine_facts import MachineFacts
from rbcluster.agent.office import OfficeKeeper
from rbcluster.agent.operator import Operator
from rbcluster.agent.peers import PeerTable
from rbcluster.agent.period_courier import PREFIX as DELIVERY_PREFIX
from rbcluster.agent.period_courier import Delivery, PeriodCourier
from rbcluster.agent.planner import Planner
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.agent.publisher import Publisher
from rbcluster.agent.readiness import Senses, clock_faults, publishing_faults
from rbcluster.agent.reporter import Reporter
from rbcluster.agent.revision_floor import FloorFinder
from rbcluster.agent.status import StatusInputs, status_document
from rbcluster.agent.status_document import StatusDocument
from rbcluster.agent.upload_round import RoundContext
from rbcluster.agent.wakeup import Wakeup
from rbcluster.complaint import Complaint
from rbcluster.core.commands import SeedCluster
from rbcluster.core.ids import NodeId
from rbcluster.core.state import Role
from rbcluster.errors import ParseError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.randomness import RandomSource
from rbcluster.hs.time_period import TimePeriod
from rbcluster.instants import Monotonic
from rbcluster.raft.view import Role as RaftRole

_LOG = logging.getLogger(__name__)

RESTART_AFTER_BUG_S = 1.0


class Node:
    """A node's agent, over a cluster and a tor that others opened."""

    def __init__(
        self,
        node: NodeId,
        *,
        cluster: Cluster,
        tor: Tor,
        keyring: Keyring,
        seed: SeedCluster,
        clock: Clock,
        rng: RandomSource,
        machine: MachineFacts,
    ) -> None:
        self.node = node
        self.cluster = cluster
        self.tor = tor
        self.keyring = keyring
        self.clock = clock
        self._machine = machine
        self.peers = PeerTable(clock.monotonic())
        self.floors = FloorFinder(node, cluster, tor, clock)
        self._bells = [Wakeup() for _ in range(6)]
        self.planner = Planner()
        self._tor_complaint = Complaint(_LOG, "tor")
        reporting, office, publishing, keeping, carrying, self._heartbeat_bell = self._bells
        self.courier = PeriodCourier(node, cluster, tor, self.peers, clock, carrying)
        self.backends = BackendKeeper(node, cluster, tor, clock, keeping)
        self.reporter = Reporter(node, cluster, tor, clock, reporting)
        self.office = OfficeKeeper(
            node, cluster, self.peers, clock, office, seed, self.publishing_faults
        )
        self.operator = Operator(cluster, clock)
        self.publisher = Publisher(
            RoundContext(
                node=node,
                cluster=cluster,
                tor=tor,
                keyring=keyring,
                floors=self.floors,
                clock=clock,
                rng=rng,
                is_clock_trusted=self.is_clock_trusted,
            ),
            self.planner,
            publishing,
        )

    def ring(self) -> None:
        """Make every loop look again."""
        for bell in self._bells:
            bell.ring()

    def hear(self, sender: NodeId, payload: bytes) -> None:
        """Take in a message that came beside Raft."""
        try:
            if payload.startswith(DELIVERY_PREFIX):
                delivery = Delivery.from_bytes(payload)
                self.tor.offer(delivery.service, delivery.document)
                return
            heartbeat = Heartbeat.from_bytes(payload)
        except ParseError as error:
            _LOG.warning("node=%s sent something else than a heartbeat: %s", sender, error)
            return
        self.peers.hear(sender, heartbeat, now=self.clock.monotonic(), wall_ms=self.clock.wall_ms())

    def publishing_faults(self) -> tuple[str, ...]:
        """List why this node could not publish now."""
        return publishing_faults(self._senses())

    def is_clock_trusted(self) -> bool:
        """Tell whether revisions may go by this node's clock now."""
        return not any(clock_faults(self._senses()))

    def _senses(self) -> Senses:
        return Senses(
            tor=self.tor.status,
            consensus=self.tor.consensus,
            services_without_key=self._services_without_key(),
            clock_offset_ms=self.clock_offset_ms(),
            wall_ms=self.clock.wall_ms(),
            disk_fault=self._machine.disk_fault(),
        )

    def _services_without_key(self) -> tuple[OnionAddress, ...]:
        """List what it could not publish for want of a key; a learner is never to."""
        state = self.cluster.state
        member = state.members.get(self.node)
        is_learner = member is not None and member.role is Role.LEARNER
        return () if is_learner else tuple(s for s in state.services if not self.keyring.has(s))

    def clock_offset_ms(self) -> int:
        """Tell how far this clock is ahead of the voters' median."""
        return self.peers.own_clock_offset_ms(
            self.cluster.view.voters, myself=self.node, now=self.clock.monotonic()
        )

    def heartbeat(self) -> Heartbeat:
        """Say how this node is."""
        tor = self.tor.status
        return Heartbeat(
            sent_at_ms=self.clock.wall_ms(),
            faults=self.publishing_faults()[:MAX_SENTENCES],
            certificate_ends_at_ms=self._machine.certificate_ends_at(),
            holds_authority=self._machine.holds_authority(),
            has_keys=all(self.keyring.has(service) for service in self.cluster.state.services),
            tor=TorSummary(
                connected=tor.connected,
                version=tor.version,
                bootstrapped=tor.bootstrapped,
                warnings=tor.warnings[:MAX_SENTENCES],
            ),
            visitors=self.tor.num_visitors,
            period=self._period(),
            version=__version__,
            schema_version=self.office.newest_schema,
        )

    def _period(self) -> int | None:
        view = self.tor.consensus
        return TimePeriod.containing(view.valid_after, view.times).number if view else None

    def status(self) -> StatusDocument:
        """Say what this node knows of the whole cluster."""
        state, consensus = self.cluster.state, self.tor.consensus
        return status_document(
            StatusInputs(
                node=self.node,
                state=state,
                view=self.cluster.view,
                num_turned_away=self.cluster.num_turned_away,
                has_consensus=consensus is not None,
                wanted=self.planner.plan(state, self.tor.slot_rings),
                own_heartbeat=self.heartbeat(),
                own_clock_offset_ms=self.clock_offset_ms(),
                peers=self.peers.records,
                exhausted=self.floors.exhausted,
                now=self.clock.monotonic(),
                wall_ms=self.clock.wall_ms(),
                seed=self.office.seed,
                waits_for=self._waits_for(),
            )
        )

    def _waits_for(self) -> dict[NodeId, str | None]:
        if self.cluster.view.role is not RaftRole.LEADER:
            return {}
        return {member.node: why for member, why in self.office.members.unfulfilled()}

    async def run(self) -> None:
        """Run every loop until cancelled."""
        unsubscribe = self.cluster.subscribe(self.ring)
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(_keep_going("reporter", self.reporter.run))
                loops.create_task(_keep_going("office", self.office.run))
                loops.create_task(_keep_going("publisher", self.publisher.run))
                loops.create_task(_keep_going("backends", self.backends.run))
                loops.create_task(_keep_going("courier", self.courier.run))
                loops.create_task(_keep_going("heartbeat", self._beat))
        finally:
            unsubscribe()

    async def _beat(self) -> None:
        """Tell the others how this node is: once a second, and at once when that changes."""
        last_faults: tuple[str, ...] | None = None
        due = self.clock.monotonic()
        while True:
            heartbeat, now = self.heartbeat(), self.clock.monotonic()
            self._tor_complaint.note("; ".join(heartbeat.tor.warnings), now=now)
            if now >= due or heartbeat.faults != last_faults:
                self.cluster.broadcast(heartbeat.to_bytes())
                last_faults, due = heartbeat.faults, Monotonic(now + HEARTBEAT_EVERY_S)
            await self._heartbeat_bell.wait(due - now)


async def _keep_going(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop; should it meet a bug, log that and start it anew."""
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001 - the one place that keeps a node going after a bug
            _LOG.exception("a bug: the %s loop failed and is started anew; please report it", name)
            await asyncio.sleep(RESTART_AFTER_BUG_S)
