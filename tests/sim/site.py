"""What does not depend on the seed: the service, its introduction points, the Tor network.

A node's tor can hold one of a few sets of introduction points; each comes with a real descriptor
that proves it. They cost milliseconds, so all runs of a process share them.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from rbcluster.agent.keyring import Keyring
from rbcluster.core.ids import NodeId
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import (
    IdentityKeypair,
    IntroAuthKey,
    IntroEncKey,
    RelayEd25519Id,
    RelayNtorKey,
    SharedRandomValue,
)
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import HsTimes, TimePeriod
from rbcluster.tor.intro_source import LocalIntroPoints

NAMES = tuple(map(NodeId, ("ada", "bob", "cyd", "dan", "eve", "fay", "gus")))
MASTER = IdentityKeypair.from_seed(bytes(range(32)))
SITE = OnionAddress(MASTER.public)
KEYRING = Keyring({SITE: MASTER})
TIMES = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))

NUM_VARIANTS = 4  # sets of introduction points that a node's tor may come to hold
_POINTS_EACH = 2
NUM_HSDIRS = 10
_SHARED_RELAY = 7
_DAY = datetime(2026, 3, 2, tzinfo=UTC)

# Nothing happens; the consensus changes; with the time period; with the shared random value.
STARTS = (
    _DAY + timedelta(hours=15, minutes=20),
    _DAY + timedelta(hours=15, minutes=59, seconds=40),
    _DAY + timedelta(hours=11, minutes=59, seconds=40),
    _DAY + timedelta(hours=23, minutes=59, seconds=40),
)


@lru_cache(maxsize=64)
def consensus_at(instant: datetime) -> ConsensusView:
    """Return the consensus that the Tor network has at an instant."""
    valid_after = instant.replace(minute=0, second=0, microsecond=0)
    day = valid_after.timetuple().tm_yday
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=valid_after + timedelta(hours=1),
        valid_until=valid_after + timedelta(hours=3),
        times=TIMES,
        srv_current=SharedRandomValue(bytes([day]) * 32),
        srv_previous=SharedRandomValue(bytes([day - 1]) * 32),
        hsdirs=tuple(
            HsDir(Fingerprint(bytes([n]) * 20), RelayEd25519Id(bytes([n]) * 32))
            for n in range(NUM_HSDIRS)
        ),
        num_replicas=2,
        spread_store=2,
    )


@lru_cache(maxsize=1024)
def intro_points(node: NodeId, variant: int) -> tuple[IntroPoint, ...]:
    """List a set of introduction points; in the last one, a relay that every node may use."""
    first = 1000 * NAMES.index(node) + 100 * variant + 100
    is_shared = variant == NUM_VARIANTS - 1
    return tuple(
        _point(first + n, _SHARED_RELAY if is_shared and n == 0 else first + n)
        for n in range(_POINTS_EACH)
    )


def _point(number: int, relay: int) -> IntroPoint:
    key = hashlib.sha256(b"point %d" % number).digest()
    return IntroPoint(
        link_specifiers=(LinkSpecifier(LinkType.LEGACY_ID, relay.to_bytes(20)),),
        onion_key=RelayNtorKey(key),
        auth_key=IntroAuthKey(IdentityKeypair.from_seed(key).public.raw),
        enc_key=IntroEncKey(key),
    )


@lru_cache(maxsize=1024)
def local_points(node: NodeId, variant: int, start: datetime) -> LocalIntroPoints:
    """Return what a node's tor says of a set of introduction points, with the proof."""
    points, period = intro_points(node, variant), TimePeriod.containing(start, TIMES)
    content = DescriptorContent(
        identity=SITE.identity,
        period=period,
        keypair=KEYRING.for_period(SITE, period).keypair,
        revision=RevisionCounter(1),
        points=points,
        traits=ServiceTraits(),
    )
    document = build_descriptor(content, start, bytes)
    return LocalIntroPoints(
        points=points, traits=ServiceTraits(), origin=SITE, period=period, document=document
    )


def no_points() -> LocalIntroPoints:
    """Return what a tor says that holds none."""
    return LocalIntroPoints.none()


OWNERS = {
    point.auth_key: node
    for node in NAMES
    for variant in range(NUM_VARIANTS)
    for point in intro_points(node, variant)
}
"""Whose introduction point an auth key is."""
