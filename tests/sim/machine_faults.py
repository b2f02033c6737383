"""Faults of processes and machines: killed, frozen, lost, with a bad disk or a wrong clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.sim.faults import Undo, Who, cut, nothing
from tests.sim.prudence import is_survived

if TYPE_CHECKING:
    from tests.sim.process import Machine
    from tests.sim.world import World


def keep_down(machine: Machine, *, power: bool) -> Undo:
    """End a process; return what lets it start again."""
    machine.down_count += 1
    machine.crash(power=power)
    return lambda: let_up(machine)


def let_up(machine: Machine) -> None:
    """Let a process start, unless something else keeps it down."""
    machine.down_count -= 1
    machine.start()


@dataclass(frozen=True, slots=True)
class Kill:
    """A process is killed, or its machine loses power; it comes back when the fault ends."""

    who: Who
    power: bool

    def begin(self, world: World) -> Undo:
        return keep_down(world.machine(self.who), power=self.power)


@dataclass(frozen=True, slots=True)
class Terminate:
    """A process is told to stop, hands over, and is started again when the fault ends."""

    who: Who

    def begin(self, world: World) -> Undo:
        machine = world.machine(self.who)
        machine.down_count += 1
        world.spawn(machine.terminate(), machine.node)
        return lambda: let_up(machine)


@dataclass(frozen=True, slots=True)
class Freeze:
    """A process stands still, and goes on later as if nothing had been."""

    who: Who

    def begin(self, world: World) -> Undo:
        machine = world.machine(self.who)
        node = machine.node
        mend = cut(world, [(node, other) for other in world.machines if other != node])
        machine.host.is_frozen = machine.is_up

        def undo() -> None:
            mend()
            world.loop.thaw(machine.host)

        return undo


@dataclass(frozen=True, slots=True)
class Lose:
    """A machine is gone for good, if the cluster can do without it."""

    who: Who

    def begin(self, world: World) -> Undo:
        machine = world.machine(self.who)
        if not is_survived(world, {machine.node}):
            machine.note("is spared: it can't be done without")
            return nothing
        machine.crash(power=True)
        machine.note("is gone for good")
        machine.is_gone = True
        world.lost_at = world.loop.now
        return nothing


@dataclass(frozen=True, slots=True)
class BadDisk:
    """A disk takes no more writes."""

    who: Who
    code: int

    def begin(self, world: World) -> Undo:
        node = world.machine(self.who).node
        world.disks.fail(node, self.code)
        return lambda: world.disks.mend(node)


@dataclass(frozen=True, slots=True)
class KillAtWrite:
    """A process is killed, or its machine loses power, in the middle of a write to its disk."""

    who: Who
    num_writes: int  # so many get through before
    power: bool
    restart_s: float

    def begin(self, world: World) -> Undo:
        machine = world.machine(self.who)

        def strike() -> None:
            machine.die()
            world.loop.after(0.0, bury)

        def bury() -> None:
            let_up = keep_down(machine, power=self.power)
            world.loop.after(self.restart_s, let_up)

        world.disks.stop_at(machine.node, self.num_writes, strike)
        return lambda: world.disks.spare(machine.node)


@dataclass(frozen=True, slots=True)
class Wipe:
    """A machine loses its disk, if the cluster can do without, and is back under its old name."""

    who: Who

    def begin(self, world: World) -> Undo:
        machine = world.machine(self.who)
        if not is_survived(world, {machine.node}):
            machine.note("keeps its disk: it can't be done without")
            return nothing
        undo = keep_down(machine, power=True)
        machine.note("loses its disk")
        world.lost_at = world.loop.now
        world.empty(machine)
        return undo


@dataclass(frozen=True, slots=True)
class SetClock:
    """A wall clock is set wrong; its operator mends it when the run heals."""

    who: Who
    skew_s: float

    def begin(self, world: World) -> Undo:
        world.machine(self.who).clock.skew_s = self.skew_s
        return nothing
