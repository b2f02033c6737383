"""Which faults there are, and how chance draws each: a line for every kind.

A run takes only some kinds (`scenario.py`), so that those that go together meet more often.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from rbcluster.core.state import Wish
from tests.sim.aimed import BareMajority, Blow, KillAfter
from tests.sim.disk import FAILING, FULL
from tests.sim.faults import (
    LEADER,
    Bridge,
    ChangePoints,
    Cut,
    Echo,
    Fault,
    Flap,
    LoseTor,
    Moody,
    Stall,
    Storm,
    Who,
)
from tests.sim.hsdirs import Mood
from tests.sim.machine_faults import (
    BadDisk,
    Freeze,
    Kill,
    KillAtWrite,
    Lose,
    SetClock,
    Terminate,
    Wipe,
)
from tests.sim.network import Weather
from tests.sim.operators import Add, Drain, Dwindle, Maintain, SetWish, Transfer
from tests.sim.site import NUM_HSDIRS, NUM_VARIANTS

Draw = Callable[[random.Random, int], Fault]
"""Draws a fault, for so many nodes."""

_MOMENTS = ("response_vote", "request_vote", "append_entries", "next_node_idx", "timeout_now")
_STORM = Weather(latency_s=0.05, jitter_s=0.1, stall=0.02, loss=0.01, repeats=0.5)


def _who(rng: random.Random, num_nodes: int) -> Who:
    return LEADER if rng.random() < 0.4 else rng.randrange(num_nodes)


def _some(rng: random.Random, num_nodes: int) -> tuple[Who, ...]:
    return tuple(sorted(rng.sample(range(num_nodes), rng.randint(1, max(1, num_nodes // 2)))))


def _bare(rng: random.Random, *, is_election: bool) -> Fault:
    return BareMajority(
        is_election=is_election,
        blow=rng.choice(tuple(Blow)),
        alone_after_s=rng.uniform(0.1, 2.0),
        seed=rng.random(),
    )


def _kill_at_write(rng: random.Random, num_nodes: int) -> Fault:
    return KillAtWrite(
        _who(rng, num_nodes), rng.randint(0, 12), rng.random() < 0.5, rng.uniform(0.0, 2.0)
    )


def _moody(rng: random.Random) -> Fault:
    numbers = rng.sample(range(NUM_HSDIRS), rng.randint(1, NUM_HSDIRS // 2))
    return Moody(rng.choice(tuple(Mood)), tuple(numbers))


CHANGES: tuple[Draw, ...] = (
    lambda rng, n: SetWish(_who(rng, n), rng.choice(tuple(Wish)), rng.randrange(n)),
    lambda rng, n: SetWish(_who(rng, n), Wish.VOTER, rng.randrange(n)),
    lambda rng, n: Add(rng.choice((Wish.VOTER, Wish.LEARNER)), rng.randrange(n), rng.random()),
    lambda rng, n: Wipe(_who(rng, n)),
    lambda rng, n: SetWish(rng.randrange(n), Wish.GONE, rng.randrange(n)),
)
"""Of the members; some runs are full of them."""

KINDS: tuple[Draw, ...] = (
    *CHANGES,
    lambda rng, n: Cut(_some(rng, n), (), both_ways=True),
    lambda rng, _: Cut((LEADER,), (), both_ways=rng.random() < 0.5),
    lambda rng, n: Cut((rng.randrange(n),), (rng.randrange(n),), both_ways=rng.random() < 0.3),
    lambda rng, n: Bridge(_who(rng, n)),
    lambda rng, n: Stall(_who(rng, n), rng.randrange(n), rng.uniform(0.5, 4.0)),
    lambda _rng, _n: Storm(_STORM),
    lambda rng, n: Kill(_who(rng, n), power=rng.random() < 0.5),
    lambda rng, _: KillAfter(rng.choice(_MOMENTS), rng.randint(1, 3), rng.uniform(0.0, 1.0)),
    lambda rng, _: _bare(rng, is_election=True),
    lambda rng, _: _bare(rng, is_election=False),
    lambda rng, n: Terminate(_who(rng, n)),
    _kill_at_write,
    lambda rng, n: Freeze(_who(rng, n)),
    lambda rng, n: Lose(_who(rng, n)),
    lambda rng, n: Dwindle(_who(rng, n)),
    lambda rng, n: BadDisk(_who(rng, n), rng.choice((FULL, FAILING))),
    lambda rng, n: SetClock(_who(rng, n), rng.uniform(-600, 600)),
    lambda rng, n: Transfer(_who(rng, n), rng.choice((None, rng.randrange(n)))),
    lambda rng, n: Drain(rng.randrange(n)),
    lambda rng, n: Maintain(_who(rng, n), rng.uniform(1.0, 60.0)),
    lambda rng, _: Echo(rng.random(), rng.uniform(0.1, 1.0)),
    lambda rng, n: ChangePoints(_who(rng, n), rng.choice((None, *range(NUM_VARIANTS)))),
    lambda rng, n: Flap(_who(rng, n), rng.uniform(0.3, 3.0), rng.random()),
    lambda rng, n: LoseTor(_who(rng, n)),
    lambda rng, _: _moody(rng),
)
