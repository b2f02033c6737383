"""The HSDir hash ring: which relays keep a descriptor, in either of a service's two slots.

Every HSDir has a place on the ring that depends on its identity, the period and the shared random
value; a descriptor has one place per replica and goes to the HSDirs that follow it.

Not here: the network's HSDirs (`consensus_view.py`), uploading.

Spec: rend-spec-v3 2.2.3 [WHERE-HSDESC], 2.2.4 [FETCHUPLOADDESC].

Overview::

    ConsensusView --slot_times--> {FIRST: SlotTime, SECOND: SlotTime}
    ConsensusView + SlotTime --HashRing.at--> HashRing --responsible(BlindedKey)--> HSDirs
    derive_hs_index, derive_hsdir_index, derive_disaster_srv
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.keys import BlindedKey, RelayEd25519Id, SharedRandomValue
from rbcluster.hs.params import SRV_ROUNDS_PER_RUN
from rbcluster.hs.time_period import DescriptorSlot, TimePeriod

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTime:
    """What places one of a service's two descriptors in time, the same for every service."""

    slot: DescriptorSlot
    period: TimePeriod  # which blinded key
    srv: SharedRandomValue  # which ring; the disaster value where the authorities agreed on none
    srv_run_start: datetime  # aware UTC; revision counters of this slot count from here


@dataclass(frozen=True, slots=True, kw_only=True)
class HashRing:
    """All HSDirs in the order of their index, for one slot; serves any number of services."""

    period: TimePeriod
    indices: tuple[bytes, ...]  # hsdir_index, 32 bytes each, ascending
    fingerprints: tuple[Fingerprint, ...]  # whose index stands at the same position
    num_replicas: int
    spread_store: int

    @classmethod
    def at(cls, view: ConsensusView, slot_time: SlotTime) -> HashRing:
        """Place a consensus's HSDirs on the ring of one slot."""
        places = sorted(
            (derive_hsdir_index(hsdir.ed25519_id, slot_time.srv, slot_time.period), hsdir)
            for hsdir in view.hsdirs
        )
        return cls(
            period=slot_time.period,
            indices=tuple(index for index, _ in places),
            fingerprints=tuple(hsdir.fingerprint for _, hsdir in places),
            num_replicas=view.num_replicas,
            spread_store=view.spread_store,
        )

    def responsible(self, blinded: BlindedKey) -> tuple[Fingerprint, ...]:
        """Find the HSDirs that keep the descriptor of a blinded key.

        A relay that already serves a former replica is passed over, so each replica adds
        `spread_store` relays while there are any.

        :returns: replica by replica, in ring order, without duplicates.
        """
        size = len(self.fingerprints)
        chosen: dict[Fingerprint, None] = {}
        for replica in range(1, self.num_replicas + 1):
            start = bisect_left(self.indices, derive_hs_index(blinded, replica, self.period))
            onwards = (self.fingerprints[(start + step) % size] for step in range(size))
            fresh = (fingerprint for fingerprint in onwards if fingerprint not in chosen)
            chosen |= dict.fromkeys(islice(fresh, self.spread_store))
        return tuple(chosen)


def slot_times(view: ConsensusView) -> dict[DescriptorSlot, SlotTime]:
    """Find the period and the shared random value of both descriptors.

    The first always goes by the previous SRV, the second by the current one.
    Spec: rend-spec-v3 2.2.4.2.1 [FIRSTDESCUPLOAD], 2.2.4.2.2 [SECONDDESCUPLOAD].
    """
    run_start = _srv_run_start(view)
    turn = TimePeriod.containing(run_start, view.times).next().start(view.times)
    current = TimePeriod.containing(view.valid_after, view.times)
    first = current if view.valid_after < turn else current.previous()
    second = first.next()
    return {
        DescriptorSlot.FIRST: SlotTime(
            slot=DescriptorSlot.FIRST,
            period=first,
            srv=view.srv_previous or derive_disaster_srv(first),
            srv_run_start=run_start - view.times.srv_run_length,
        ),
        DescriptorSlot.SECOND: SlotTime(
            slot=DescriptorSlot.SECOND,
            period=second,
            srv=view.srv_current or derive_disaster_srv(second),
            srv_run_start=run_start,
        ),
    }


def derive_hs_index(blinded: BlindedKey, replica: int, period: TimePeriod) -> bytes:
    """Derive where one replica of a descriptor stands on the ring (`hs_index`, 32 bytes).

    H("store-at-idx" | blinded | INT_8(replicanum) | INT_8(period_length) | INT_8(period_num)).

    :param replica: counted from 1.
    """
    when = period.length_min.to_bytes(8) + period.number.to_bytes(8)
    return hashlib.sha3_256(b"store-at-idx" + blinded.raw + replica.to_bytes(8) + when).digest()


def derive_hsdir_index(relay: RelayEd25519Id, srv: SharedRandomValue, period: TimePeriod) -> bytes:
    """Derive where a relay stands on the ring (`hsdir_index`, 32 bytes).

    H("node-idx" | node_identity | srv | INT_8(period_num) | INT_8(period_length)); number before
    length, other than in the descriptor's own index.
    """
    when = period.number.to_bytes(8) + period.length_min.to_bytes(8)
    return hashlib.sha3_256(b"node-idx" + relay.raw + srv.raw + when).digest()


def derive_disaster_srv(period: TimePeriod) -> SharedRandomValue:
    """Derive the value that stands in for an SRV the authorities did not agree on.

    H("shared-random-disaster" | INT_8(period_length) | INT_8(period_num)).
    Spec: rend-spec-v3 2.2.3.
    """
    when = period.length_min.to_bytes(8) + period.number.to_bytes(8)
    return SharedRandomValue(hashlib.sha3_256(b"shared-random-disaster" + when).digest())


def _srv_run_start(view: ConsensusView) -> datetime:
    """Find when the shared-random run began that a consensus belongs to.

    Runs are counted in whole voting intervals since the epoch. Spec: srv-spec 2 [PROTOCOL].
    """
    interval = view.times.voting_interval
    rounds_done = (view.valid_after - _EPOCH) // interval % SRV_ROUNDS_PER_RUN
    return view.valid_after - rounds_done * interval
