"""What revision the HSDirs already hold, when it may not be ours.

An address may have been published by something else before: a plain tor, Onionbalance, a cluster
restored from a backup. HSDirs refuse a revision that is not above the one they hold, so the
committed floor must rise above it. The descriptor in force can be fetched; the other slot's can't
be until its period comes (HSFETCH always asks for the current one), so there the floor rises in
doubling steps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import islice

from rbcluster.agent.clock import Clock
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.core.apply import MAX_FLOOR
from rbcluster.core.commands import RaiseFloor
from rbcluster.core.ids import NodeId
from rbcluster.core.plan import WantedDescriptor
from rbcluster.core.state import PublicationKey
from rbcluster.errors import DescriptorError
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import read_blinded_key, read_revision
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.descriptor_fetch import FetchOutcome

_LOG = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 5.0
ASKED_BEFORE_FIRST = 3  # HSDirs asked before an address is published for the first time
FIRST_STEP = 2**16  # two seconds of tor's own counter
MAX_STEPS = 16  # 2^16 .. 2^31, together past a whole day of it


class FloorFinder:
    """Finds out, and counts its blind steps for each descriptor."""

    def __init__(self, node: NodeId, cluster: Cluster, tor: Tor, clock: Clock) -> None:
        self._node = node
        self._cluster = cluster
        self._tor = tor
        self._clock = clock
        self._steps: dict[PublicationKey, int] = {}
        self._exhausted: set[PublicationKey] = set()

    @property
    def exhausted(self) -> tuple[PublicationKey, ...]:
        """The descriptors whose HSDirs refuse every revision tried: an operator must look.

        Until one is accepted, though another leader sent it, or the time period is forgotten.
        """
        publications = self._cluster.state.publications
        known = sorted(self._exhausted & publications.keys())
        return tuple(key for key in known if not publications[key].is_accepted)

    def forget(self, key: PublicationKey) -> None:
        """Begin anew for a descriptor: its HSDirs have accepted a revision."""
        self._steps.pop(key, None)
        self._exhausted.discard(key)

    async def held_elsewhere(self, wanted: WantedDescriptor) -> RevisionCounter | None:
        """Ask a few HSDirs for the revision they hold; None if none, or not to be known."""
        return await self._highest_held(wanted, islice(wanted.hsdirs, ASKED_BEFORE_FIRST))

    async def above(
        self, wanted: WantedDescriptor, overtaken: Iterable[Fingerprint]
    ) -> RaiseFloor | None:
        """Say to what the floor must rise so that these HSDirs accept; None if nothing helps."""
        held = await self._highest_held(wanted, overtaken)
        floor = self._floor(wanted)
        steps = self._steps.get(wanted.key, 0)
        if held is not None and floor < held <= MAX_FLOOR:
            self._steps.pop(wanted.key, None)
            return self.raise_to(wanted, held)
        if steps >= MAX_STEPS or (held is not None and held > MAX_FLOOR):
            self._exhausted.add(wanted.key)
            _LOG.error(
                "HSDirs refuse every revision of %s (slot %s): something else publishes this "
                "address, or did so on a larger scale; it clears when the time period ends",
                wanted.service.shortened(),
                wanted.slot_time.slot.value,
            )
            return None
        self._steps[wanted.key] = steps + 1
        return self.raise_to(wanted, RevisionCounter(floor + FIRST_STEP * 2**steps))

    def raise_to(self, wanted: WantedDescriptor, floor: RevisionCounter) -> RaiseFloor:
        """Make the command that raises the floor."""
        return RaiseFloor(
            service=wanted.service,
            period=wanted.slot_time.period,
            floor=floor,
            office_node=self._node,
            office_term=self._cluster.view.term,
            at=self._clock.wall_ms(),
        )

    def _floor(self, wanted: WantedDescriptor) -> RevisionCounter:
        publication = self._cluster.state.publications.get(wanted.key)
        return publication.floor if publication else RevisionCounter(0)

    async def _highest_held(
        self, wanted: WantedDescriptor, hsdirs: Iterable[Fingerprint]
    ) -> RevisionCounter | None:
        """Fetch from these HSDirs, all at once, and return the highest revision found."""
        consensus, period = self._tor.consensus, wanted.slot_time.period
        if consensus is None or period != TimePeriod.containing(
            consensus.valid_after, consensus.times
        ):
            return None  # not the period in force: can't be fetched yet
        blinded = derive_blinded_key(wanted.service.identity, period)
        held: list[RevisionCounter] = []
        fetches = (self._tor.fetch(wanted.service, hsdir, FETCH_TIMEOUT_S) for hsdir in hsdirs)
        for result in await asyncio.gather(*fetches):
            if result.outcome is not FetchOutcome.FOUND:
                continue
            try:
                if read_blinded_key(result.document) == blinded:
                    held.append(read_revision(result.document))
            except DescriptorError as error:
                _LOG.warning("an HSDir served a descriptor that does not hold: %s", error)
        return max(held, default=None)
