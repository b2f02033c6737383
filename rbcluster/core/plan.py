"""plan: what should be on the HSDirs now, a pure function of the replicated state and the network.

For each service two descriptors, first and second; in each, the introduction points of its backends
and of all nodes that are neither silent nor drained, as far as `selection.py` lets them in. Which
slot belongs to which period and SRV comes from the consensus alone. `decide.py` compares the result
with what was published.

The points are shown in the order of a keyed hash of their auth keys: to an onlooker it looks
shuffled, so no node stands first for being first, and yet two publications show the same points in
the same order.

Not here: when to publish (`decide.py`), which seats of a large pool are on show (a later matter).

Overview::

    ConsensusView --derive_slot_rings--> SlotRing, one per slot (worth keeping: hashes every HSDir)
    ClusterState + SlotRings --plan--> WantedDescriptor, two per service
    ring_in_force              which of them clients ask
    merge_traits               what the nodes' descriptors said, made one
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rbcluster.core.backends import live_backends
from rbcluster.core.codec import encode_content
from rbcluster.core.ids import NodeId
from rbcluster.core.selection import select_points
from rbcluster.core.state import ClusterState, NodeReport, Policy, PublicationKey
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.hashring import HashRing, SlotTime, slot_times
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.hs.time_period import TimePeriod

_NTOR = 2  # the one handshake that every client of a v3 service can do; rend-spec-v3 2.5.2.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPoint:
    """An introduction point of a descriptor, and the node that holds it."""

    node: NodeId  # or a backend, by its label (`backends.py`)
    point: IntroPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDescriptor:
    """What the HSDirs of one slot should hold."""

    service: OnionAddress
    slot_time: SlotTime
    hsdirs: tuple[Fingerprint, ...]  # who should hold it, ring order over replicas, no duplicates
    points: tuple[PlacedPoint, ...]  # in the order to show; empty: there is nothing to publish
    traits: ServiceTraits
    digest: bytes  # 32 bytes: `digest_for` its own HSDirs; what a reservation commits to

    @property
    def key(self) -> PublicationKey:
        """Where the state keeps what was published of it."""
        return self.service, self.slot_time.period.number

    @property
    def auth_keys(self) -> tuple[IntroAuthKey, ...]:
        """What names its introduction points, in the order to show."""
        return tuple(placed.point.auth_key for placed in self.points)

    def digest_for(self, hsdirs: tuple[Fingerprint, ...]) -> bytes:
        """Compute the digest as if it went to these HSDirs (SHA-256, 32 bytes).

        Over period, HSDirs, points with all their keys and link specifiers, and traits.
        """
        return _digest_content(self.slot_time.period, hsdirs, self.points, self.traits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRing:
    """One slot's time and its HSDirs on the ring: the same for every service."""

    slot_time: SlotTime
    ring: HashRing


def derive_slot_rings(view: ConsensusView) -> tuple[SlotRing, ...]:
    """Place the HSDirs on the rings of both slots; good for as long as the consensus is.

    :returns: the first slot, the second slot.
    """
    return tuple(
        SlotRing(slot_time=slot_time, ring=HashRing.at(view, slot_time))
        for slot_time in slot_times(view).values()
    )


def ring_in_force(slot_rings: Iterable[SlotRing], view: ConsensusView) -> SlotRing | None:
    """Find the slot whose descriptor clients see under a consensus; None if no ring is of it."""
    period = TimePeriod.containing(view.valid_after, view.times)
    return next((ring for ring in slot_rings if ring.slot_time.period == period), None)


def plan(state: ClusterState, slot_rings: Sequence[SlotRing]) -> tuple[WantedDescriptor, ...]:
    """Say what should be published now.

    :returns: by address, in the order of `slot_rings`.
    :raises VerificationError: if a service's address is no point of the curve.
    """
    return tuple(
        wanted
        for service in sorted(state.services)
        for wanted in _plan_service(state, service, slot_rings)
    )


def _plan_service(
    state: ClusterState, service: OnionAddress, slot_rings: Sequence[SlotRing]
) -> Iterable[WantedDescriptor]:
    """Yield the descriptors of one service; both slots show the same points."""
    reports = {**live_backends(state, service), **_live_reports(state, service)}
    selected = select_points(
        _candidates(reports),
        {node: _weight(state, node) for node in reports},
        state.policy.max_intro_points,
    )
    points = _in_order_of_show(selected, state.policy)
    traits = merge_traits([reports[node].traits for node, chosen in selected.items() if chosen])
    for slot_ring in slot_rings:
        period = slot_ring.slot_time.period
        hsdirs = slot_ring.ring.responsible(derive_blinded_key(service.identity, period))
        yield WantedDescriptor(
            service=service,
            slot_time=slot_ring.slot_time,
            hsdirs=hsdirs,
            points=points,
            traits=traits,
            digest=_digest_content(period, hsdirs, points, traits),
        )


def _live_reports(state: ClusterState, service: OnionAddress) -> dict[NodeId, NodeReport]:
    """Find what the members that may be shown hold for a service, by node."""
    return {
        node: state.pool[service, node]
        for node, member in sorted(state.members.items())
        if member.may_be_shown and (service, node) in state.pool
    }


def _weight(state: ClusterState, node: NodeId) -> int:
    """Find a node's share against the others; a backend's is 1."""
    member = state.members.get(node)
    return member.weight if member else 1


def _candidates(reports: Mapping[NodeId, NodeReport]) -> dict[NodeId, tuple[IntroPoint, ...]]:
    """Take each node's points, but none whose auth key an earlier node has reported.

    An auth key names a point: two nodes can't both hold it, and a reservation that named it twice
    would be refused for ever.
    """
    seen: set[IntroAuthKey] = set()
    candidates = {}
    for node, report in reports.items():
        candidates[node] = tuple(point for point in report.points if point.auth_key not in seen)
        seen.update(point.auth_key for point in report.points)
    return candidates


def _in_order_of_show(
    selected: Mapping[NodeId, tuple[IntroPoint, ...]], policy: Policy
) -> tuple[PlacedPoint, ...]:
    """Shuffle the points, the same way each time for one seed."""

    def rank(placed: PlacedPoint) -> bytes:
        return hashlib.sha256(policy.shuffle_seed + placed.point.auth_key.raw).digest()

    placed = (
        PlacedPoint(node=node, point=point) for node, chosen in selected.items() for point in chosen
    )
    return tuple(sorted(placed, key=rank))


def merge_traits(reported: Sequence[ServiceTraits]) -> ServiceTraits:
    """Make one of what the nodes' own descriptors said: only what is true at every node.

    A client doesn't know which node it will reach, so it may count on nothing that one of them
    lacks: the CREATE2 formats all have (ntor if they have none in common, which every tor has),
    flow control only if all say the same, single onion service only if all are. A node's demand for
    authentication, on the other hand, is never left out.

    :param reported: of the nodes whose points are shown; none gives the defaults.
    """
    if not reported:
        return ServiceTraits()
    formats = set.intersection(*(set(traits.create2_formats) for traits in reported))
    demands = set().union(*(traits.intro_auth_required for traits in reported))
    flow_controls = {traits.flow_control for traits in reported}
    return ServiceTraits(
        create2_formats=tuple(sorted(formats)) or (_NTOR,),
        intro_auth_required=tuple(sorted(demands)),
        single_onion_service=all(traits.single_onion_service for traits in reported),
        flow_control=flow_controls.pop() if len(flow_controls) == 1 else None,
    )


def _digest_content(
    period: TimePeriod,
    hsdirs: tuple[Fingerprint, ...],
    points: tuple[PlacedPoint, ...],
    traits: ServiceTraits,
) -> bytes:
    shown = tuple(placed.point for placed in points)
    return hashlib.sha256(encode_content(period, hsdirs, shown, traits)).digest()
