"""Faults that are aimed: they wait for a moment that counts in Raft, and strike just then.

Left to chance such moments would be met once in thousands of runs: a voter that dies right after
its vote has left, a follower that dies right after it has said that an entry is safe with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rbcluster.core.ids import NodeId
from tests.sim.faults import LEADER, Undo, both, cut
from tests.sim.links import Frame
from tests.sim.machine_faults import keep_down

if TYPE_CHECKING:
    from tests.sim.world import World

Message = dict[str, object]


def read(frame: Frame) -> Message:
    """Read a message of Raft; anything else is an empty one."""
    return frame.payload if isinstance(frame.payload, dict) else {}


def watch(world: World, watcher: Callable[[Frame], None]) -> Undo:
    """Have every frame shown, before it is on its way."""
    world.watchers.append(watcher)
    return lambda: world.watchers.remove(watcher) if watcher in world.watchers else None


@dataclass(frozen=True, slots=True)
class KillAfter:
    """A node loses power right after it has sent a message of some type, a few times over."""

    message: str
    times: int
    restart_s: float

    def begin(self, world: World) -> Undo:
        left = self.times
        is_armed = True

        def see(frame: Frame) -> None:
            nonlocal left, is_armed
            if is_armed and left and read(frame).get("type") == self.message:
                left, is_armed = left - 1, False
                world.loop.after(0.0, strike, frame.way[0])

        def strike(node: NodeId) -> None:
            let_up = keep_down(world.machines[node], power=True)
            world.loop.after(self.restart_s, let_up)
            world.loop.after(self.restart_s + 1.0, arm)

        def arm() -> None:
            nonlocal is_armed
            is_armed = True

        return watch(world, see)


class Blow(Enum):
    """What befalls those who have answered."""

    POWER = "power"  # they lose power, and are back at once
    RESET = "reset"  # they are one too few; their connection is reset, and their answer repeated


@dataclass(frozen=True, slots=True)
class BareMajority:
    """A candidate or leader is heard by few; those are struck once they have answered; then it is
    alone.

    What the few have promised in their answer (a vote, an entry that is safe) must bind them still
    when the others elect somebody else.
    """

    is_election: bool
    blow: Blow
    alone_after_s: float  # so long after the first answer it is cut off from all
    seed: float

    def begin(self, world: World) -> Undo:
        return _Bare(self, world).begin()


class _Bare:
    """One such fault under way."""

    def __init__(self, fault: BareMajority, world: World) -> None:
        self.fault = fault
        self.world = world
        self.rng = random.Random(fault.seed)
        self.blow = fault.blow if len(world.voters) > 3 else Blow.POWER
        self.undos: list[Undo] = []
        self.centre: NodeId | None = None
        self.few: set[NodeId] = set()
        self.struck: set[NodeId] = set()
        self.known: dict[NodeId, int] = {}  # how far each of the few was when it began
        self.is_over = False

    def begin(self) -> Undo:
        self.undos.append(watch(self.world, self.see))
        machine = self.world.machine(LEADER)
        if self.fault.is_election:
            keep_down(machine, power=False)()  # it starts anew, as a follower
        else:
            self.surround(machine.node)
            self.world.echo(machine, self.rng)
        return self.end

    def end(self) -> None:
        self.is_over = True
        for undo in self.undos:
            undo()

    def surround(self, centre: NodeId) -> None:
        """Leave a node only the few."""
        self.centre = centre
        others = [machine.node for machine in self.world.voters if machine.node != centre]
        num_few = max(0, (len(others) + 1) // 2 - (self.blow is Blow.RESET))
        self.few = set(self.rng.sample(others, num_few))
        ways = [(centre, other) for other in others if other not in self.few]
        self.undos.append(cut(self.world, both(ways)))

    def see(self, frame: Frame) -> None:
        message = read(frame)
        kind, sender = message.get("type"), frame.way[0]
        if self.fault.is_election and self.centre is None and kind == "request_vote":
            self.surround(sender)
        if frame.way[1] != self.centre or sender not in self.few or sender in self.struck:
            return
        if self.fault.is_election and kind == "response_vote":
            self.strike(sender)
        elif not self.fault.is_election and kind == "next_node_idx":
            index = message["next_node_idx"]
            assert isinstance(index, int)
            if index > self.known.setdefault(sender, index):
                self.strike(sender)

    def strike(self, node: NodeId) -> None:
        if not self.struck:
            self.world.loop.after(self.fault.alone_after_s, self.leave_alone)
        self.struck.add(node)
        self.world.loop.after(0.0, self.hit, node)

    def hit(self, node: NodeId) -> None:
        if self.blow is Blow.POWER:
            let_up = keep_down(self.world.machines[node], power=True)
            self.world.loop.after(0.5 * self.rng.random(), let_up)
        else:
            assert self.centre is not None
            self.world.loop.after(0.1, self.world.network.reset, node, self.centre)

    def leave_alone(self) -> None:
        if not self.is_over:
            ways = [(self.centre, other) for other in self.world.machines if other != self.centre]
            self.undos.append(cut(self.world, both(ways)))  # type: ignore[arg-type]
