"""Faults. Each begins, and what it returns ends it; the end of a run ends them all.

To add one: a frozen dataclass with `begin`, and a line in `menu.py` that draws it from chance.
Those of processes and machines are in `machine_faults.py`, those that wait for a moment in Raft's
own doings in `aimed.py`; what operators do is in `operators.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests.sim.hsdirs import Mood
from tests.sim.links import Way
from tests.sim.network import Weather

if TYPE_CHECKING:
    from tests.sim.world import World

Undo = Callable[[], None]


class Fault(Protocol):
    """Something bad that begins and ends. Its `str` is what the timeline says."""

    def begin(self, world: World) -> Undo:
        """Let it happen; return what ends it."""


Who = int | None
"""A node by number, or whoever leads when the fault begins."""

LEADER: Who = None


def nothing() -> None:
    """End a fault that ends by itself."""


def cut(world: World, ways: Iterable[Way]) -> Undo:
    """Let nothing through on some ways; return what mends them."""
    ways = tuple(ways)
    for way in ways:
        world.network.cut(way)

    def undo() -> None:
        for way in ways:
            world.network.mend(way)

    return undo


def both(ways: Iterable[Way]) -> list[Way]:
    """Add the way back to each."""
    return [each for a, b in ways for each in ((a, b), (b, a))]


def repeat(world: World, every_s: float, act: Callable[[], None]) -> Undo:
    """Do something now and again and again; return what ends it."""
    is_over = False

    def again() -> None:
        if not is_over:
            act()
            world.loop.after(every_s, again)

    def undo() -> None:
        nonlocal is_over
        is_over = True

    again()
    return undo


# The network


@dataclass(frozen=True, slots=True)
class Cut:
    """Nothing gets through from some nodes to others."""

    senders: tuple[Who, ...]
    receivers: tuple[Who, ...]  # empty: everybody else
    both_ways: bool

    def begin(self, world: World) -> Undo:
        senders = [world.machine(who).node for who in self.senders]
        others = [node for node in world.machines if node not in senders]
        receivers = [world.machine(who).node for who in self.receivers] or others
        ways = [(a, b) for a in senders for b in receivers if a != b]
        return cut(world, both(ways) if self.both_ways else ways)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Two halves that see each other only through one node, which sees both."""

    middle: Who

    def begin(self, world: World) -> Undo:
        middle = world.machine(self.middle).node
        others = [node for node in world.machines if node != middle]
        half = len(others) // 2
        ways = [(a, b) for a in others[:half] for b in others[half:]]
        return cut(world, both(ways))


@dataclass(frozen=True, slots=True)
class Stall:
    """What one node sends to another comes late, all of it, in order."""

    sender: Who
    receiver: Who
    seconds: float

    def begin(self, world: World) -> Undo:
        way = world.machine(self.sender).node, world.machine(self.receiver).node
        world.network.stall(way, self.seconds)
        return nothing


@dataclass(frozen=True, slots=True)
class Storm:
    """The whole network is bad."""

    weather: Weather

    def begin(self, world: World) -> Undo:
        before, world.network.weather = world.network.weather, self.weather

        def undo() -> None:
            world.network.weather = before

        return undo


# Commands


@dataclass(frozen=True, slots=True)
class Echo:
    """Whoever leads proposes once more what was proposed before, by whomever, however long ago.

    So comes a command late that was in some queue, or whose outcome was not known. Whose command it
    is does not matter to the state machine: it must refuse a deposed leader's wherever it lands.
    """

    seed: float
    every_s: float

    def begin(self, world: World) -> Undo:
        rng = random.Random(self.seed)
        return repeat(world, self.every_s, lambda: world.echo(world.machine(LEADER), rng))


# Tor


@dataclass(frozen=True, slots=True)
class ChangePoints:
    """A tor comes to hold other introduction points, or none (variant None)."""

    who: Who
    variant: int | None

    def begin(self, world: World) -> Undo:
        world.hold(world.machine(self.who), self.variant)
        return nothing


@dataclass(frozen=True, slots=True)
class Flap:
    """A tor comes to hold other introduction points again and again."""

    who: Who
    every_s: float
    seed: float

    def begin(self, world: World) -> Undo:
        machine, rng = world.machine(self.who), random.Random(self.seed)
        return repeat(
            world, self.every_s, lambda: world.hold(machine, rng.choice((None, *range(4))))
        )


@dataclass(frozen=True, slots=True)
class LoseTor:
    """A tor's control port does not answer."""

    who: Who

    def begin(self, world: World) -> Undo:
        tor = world.machine(self.who).tor
        tor.connect(False)
        return lambda: tor.connect(True)


@dataclass(frozen=True, slots=True)
class Moody:
    """Some HSDirs misbehave."""

    mood: Mood
    numbers: tuple[int, ...]

    def begin(self, world: World) -> Undo:
        hsdirs = [world.consensus.hsdirs[number].fingerprint for number in self.numbers]
        for hsdir in hsdirs:
            world.hsdirs.moods[hsdir] = self.mood

        def undo() -> None:
            for hsdir in hsdirs:
                world.hsdirs.moods.pop(hsdir, None)

        return undo
