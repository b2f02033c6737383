"""For nodes whose tor has not turned the time period yet: what clients see of them already.

Tors learn of a new period with a consensus, and that reaches them up to three hours apart. A client
that has turned finds an instance's second descriptor, which the instance's own tor can't fetch
before it has turned itself. Any tor that has can: so one of the nodes that are ahead fetches it and
hands it to the node that is behind. That node believes it for its signatures alone, and reports its
points itself, if their circuits stand.

Not here: whether it is accepted (`tor/intro_fetch.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rbcluster.agent.clock import Clock
from rbcluster.agent.peers import PeerTable
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.ids import NodeId
from rbcluster.core.plan import SlotRing, ring_in_force
from rbcluster.core.state import PoolKey, Role
from rbcluster.errors import ParseError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.keys import IdentityKey
from rbcluster.hs.params import KEY_BYTES
from rbcluster.instants import LONG_AGO, Monotonic
from rbcluster.tor.descriptor_fetch import FetchOutcome

PREFIX = b"descriptor:"
"""Begins every message of these, beside heartbeats."""

FETCH_TIMEOUT_S = 15.0
LOOK_EVERY_S = 5.0
RETRY_S = 5.0  # after an HSDir that had none: the next is asked
REPEAT_S = 300.0  # what a node that stays behind publishes may change


@dataclass(frozen=True, slots=True)
class Delivery:
    """A descriptor that the receiver's own tor published for a service."""

    service: OnionAddress
    document: bytes

    def to_bytes(self) -> bytes:
        """Encode for the link."""
        return PREFIX + self.service.identity.raw + self.document

    @classmethod
    def from_bytes(cls, payload: bytes) -> Delivery:
        """Decode what a peer sent.

        :raises ParseError: if it is no delivery.
        """
        key = payload[len(PREFIX) :][:KEY_BYTES]
        if not payload.startswith(PREFIX) or len(key) != KEY_BYTES:
            raise ParseError("no delivery of a descriptor")
        return cls(OnionAddress(IdentityKey(key)), payload[len(PREFIX) + KEY_BYTES :])


@dataclass(slots=True)
class _Errand:
    """What is remembered of one node and service."""

    due_at: Monotonic = LONG_AGO
    turn: int = 0  # how many HSDirs were asked


@dataclass(slots=True)
class PeriodCourier:
    """Carries to the nodes that are behind what this node's tor can fetch of them."""

    node: NodeId
    cluster: Cluster
    tor: Tor
    peers: PeerTable
    clock: Clock
    wakeup: Wakeup
    _errands: dict[PoolKey, _Errand] = field(default_factory=dict)

    async def run(self) -> None:
        """Look for ever who is behind."""
        while True:
            ring = self._ring()
            late = dict(self._late(ring)) if ring is not None else {}
            self._errands = {key: self._errands.get(key, _Errand()) for key in late}
            for key, origin in late.items():
                if ring is not None and self.clock.monotonic() >= self._errands[key].due_at:
                    await self._carry(key, origin, ring)
            await self.wakeup.wait(LOOK_EVERY_S)

    def _ring(self) -> SlotRing | None:
        view = self.tor.consensus
        return ring_in_force(self.tor.slot_rings, view) if view is not None else None

    def _late(self, ring: SlotRing) -> Iterator[tuple[PoolKey, OnionAddress]]:
        """Find the instances whose tor is behind, as far as they are this node's to help."""
        number = ring.slot_time.period.number
        helpers = [node for node in self._voters() if self._period_of(node) == number]
        members = sorted(self.cluster.state.members)
        for (service, node), report in self.cluster.state.pool.items():
            period = self._period_of(node)
            if report.origin == service or period is None or period >= number or not helpers:
                continue
            if helpers[members.index(node) % len(helpers)] == self.node:
                yield (service, node), report.origin

    def _voters(self) -> list[NodeId]:
        """List the voters, who alone have links to everyone."""
        members = self.cluster.state.members.values()
        return sorted(member.node for member in members if member.role is Role.VOTER)

    def _period_of(self, node: NodeId) -> int | None:
        """Tell which period a node's tor is in; None if it did not say so just now."""
        if node == self.node:
            ring = self._ring()
            return ring.slot_time.period.number if ring else None
        record = self.peers.record(node)
        is_fresh = record is not None and record.is_fresh(self.clock.monotonic())
        return record.heartbeat.period if record is not None and is_fresh else None

    async def _carry(self, key: PoolKey, origin: OnionAddress, ring: SlotRing) -> None:
        """Fetch one descriptor from one HSDir, and hand it over."""
        (service, node), errand = key, self._errands[key]
        hsdirs = ring.ring.responsible(derive_blinded_key(origin.identity, ring.slot_time.period))
        if not hsdirs:
            return
        result = await self.tor.fetch(origin, hsdirs[errand.turn % len(hsdirs)], FETCH_TIMEOUT_S)
        errand.turn += 1
        is_done = result.outcome is FetchOutcome.FOUND and self.cluster.tell(
            node, Delivery(service, result.document).to_bytes()
        )
        pause_s = REPEAT_S if is_done else RETRY_S
        errand.due_at = Monotonic(self.clock.monotonic() + pause_s)
