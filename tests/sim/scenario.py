"""What a seed means: the cluster, the network's weather, and the faults with their instants.

Everything is drawn before the run begins, so a seed can be read without running it. Which node a
fault meets may be said by role ("whoever leads then"), and is found out when it begins.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from rbcluster.core.state import Policy
from rbcluster.raft.profile import LAN, WAN, RaftProfile
from tests.sim.faults import Fault
from tests.sim.menu import CHANGES, KINDS, Draw
from tests.sim.network import Weather
from tests.sim.site import NAMES, NUM_VARIANTS, STARTS

QUIET_S = 5.0  # nothing happens at first: the cluster is founded
BAD_S = 25.0  # after this, everything heals

_RESTLESS = 0.35  # so many runs are full of changes of the members
_SIZES = (3, 3, 3, 3, 3, 5, 5, 4, 2, 1)  # voters


class Place(Enum):
    """What a machine is at first."""

    VOTER = "voter"  # or is to be
    LEARNER = "learner"
    SPARE = "spare"  # not in the cluster, but may be added


_COMPACT_ENTRIES = (15, 40, 2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A fault, when it begins and how long it lasts."""

    at: float
    for_s: float
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One seed, spelled out."""

    seed: int
    places: tuple[Place, ...]
    profile: RaftProfile
    weather: Weather
    policy: Policy
    start: datetime
    rates: tuple[float, ...]  # of each node's clock
    skews: tuple[float, ...]  # of each node's wall clock, seconds
    variants: tuple[int, ...]  # which introduction points each tor begins with
    foreign_lead_s: int | None  # HSDirs hold what a tor of the same key, so much ahead, published
    faults: tuple[Planned, ...]

    @property
    def num_nodes(self) -> int:
        return len(self.places)


def draw(seed: int, kinds: tuple[Draw, ...] = KINDS) -> Scenario:
    """Spell out a seed.

    :param kinds: which faults there are.
    """
    rng = random.Random(f"scenario {seed}")
    places = _places(rng)
    num_nodes = len(places)
    base = LAN if rng.random() < 0.1 else WAN
    return Scenario(
        seed=seed,
        places=places,
        profile=replace(base, compact_entries=rng.choice(_COMPACT_ENTRIES)),
        weather=_weather(rng, base),
        policy=_policy(rng),
        start=rng.choice(STARTS),
        rates=tuple(1.0 + rng.uniform(-0.005, 0.005) for _ in range(num_nodes)),
        skews=tuple(_skew(rng) for _ in range(num_nodes)),
        variants=tuple(rng.randrange(NUM_VARIANTS) for _ in range(num_nodes)),
        foreign_lead_s=rng.randint(1, 100) if rng.random() < 0.1 else None,
        faults=_faults(rng, num_nodes, kinds),
    )


def _places(rng: random.Random) -> tuple[Place, ...]:
    num_voters = rng.choice(_SIZES)
    places = [Place.VOTER] * num_voters
    places += [Place.LEARNER] * (num_voters > 1 and rng.random() < 0.2)
    places += [Place.SPARE] * rng.choice((0, 1, 1, 2))
    if rng.random() < 0.5:
        rng.shuffle(places)  # of each pair, the first by name dials
    return tuple(places[: len(NAMES)])


def _weather(rng: random.Random, profile: RaftProfile) -> Weather:
    latency_s = rng.choice((0.001, 0.01, 0.2 * profile.append_s))
    return Weather(
        latency_s=latency_s,
        jitter_s=latency_s * rng.choice((0.1, 1.0)),
        stall=rng.choice((0.0, 0.0, 0.005)),
        stall_s=rng.choice((0.3, 3.0)),
        loss=rng.choice((0.0, 0.0, 0.002)),
        repeats=rng.choice((0.0, 0.5)),
    )


def _policy(rng: random.Random) -> Policy:
    """Draw a policy; in some, descriptors are renewed all the time."""
    if rng.random() < 0.2:
        return Policy(refresh_min_ms=8_000, refresh_max_ms=20_000)
    return Policy()


def _skew(rng: random.Random) -> float:
    """Draw how wrong a clock is: mostly hardly, sometimes up to ten minutes."""
    return rng.uniform(-600, 600) if rng.random() < 0.15 else rng.gauss(0, 3)


def _faults(rng: random.Random, num_nodes: int, kinds: tuple[Draw, ...]) -> tuple[Planned, ...]:
    some = rng.sample(kinds, min(len(kinds), rng.choice((2, 4, 8, len(kinds)))))
    if rng.random() < _RESTLESS:
        some += CHANGES
    planned = []
    for _ in range(rng.randint(3, 12)):
        at = rng.uniform(QUIET_S if rng.random() < 0.9 else 0.0, BAD_S)
        for_s = min(BAD_S - at, rng.choice((0.5, 3.0, 10.0)) * rng.uniform(0.3, 1.5))
        planned.append(Planned(at=at, for_s=for_s, fault=rng.choice(some)(rng, num_nodes)))
    return tuple(sorted(planned, key=lambda each: each.at))
