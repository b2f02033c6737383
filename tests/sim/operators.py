"""What operators do: transfer, drain, maintenance, and changes of the members.

They ask like anybody, on some machine that runs, and take a refusal for an answer. Only one thing
they leave: right after a machine was lost, nobody takes a vote away that may be needed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbcluster.core.state import Wish
from rbcluster.errors import RaftError
from tests.sim.faults import LEADER, Undo, Who, nothing
from tests.sim.machine_faults import Lose
from tests.sim.prudence import NOTICED_WITHIN_S, is_survived

if TYPE_CHECKING:
    from rbcluster.agent.operator import Operator
    from tests.sim.process import Machine
    from tests.sim.world import World

_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """An operator asks some node to have the leadership handed over."""

    who: Who
    to: int | None

    def begin(self, world: World) -> Undo:
        to = None if self.to is None else world.machine(self.to).node
        _ask(world, world.machine(self.who), lambda operator: operator.transfer(to))
        return nothing


@dataclass(frozen=True, slots=True)
class Drain:
    """An operator drains a node, and undrains it at the end, if somebody takes that."""

    who: Who

    def begin(self, world: World) -> Undo:
        node = world.machine(self.who).node
        _ask(world, world.machine(LEADER), lambda operator: operator.drain(node, force=False))
        return lambda: _ask(world, world.machine(LEADER), lambda operator: operator.undrain(node))


@dataclass(frozen=True, slots=True)
class Maintain:
    """An operator has the silence of nodes withdraw nobody, and insists on ending that."""

    who: Who
    for_s: float

    def begin(self, world: World) -> Undo:
        for_ms = round(1000 * self.for_s)
        _ask(world, world.machine(self.who), lambda operator: operator.maintain(for_ms))

        def insist() -> None:
            _ask(world, world.machine(LEADER), lambda operator: operator.maintain(None))
            if world.ledger.state.maintenance_until is not None:
                world.loop.after(_AGAIN_S, insist)

        return insist


@dataclass(frozen=True, slots=True)
class SetWish:
    """An operator promotes, demotes or removes a node."""

    who: Who
    wish: Wish
    on: int  # the machine that the operator is on

    def begin(self, world: World) -> Undo:
        node, machine = world.machine(self.who).node, world.machine(self.on)
        is_recent = world.loop.now - world.lost_at < NOTICED_WITHIN_S
        if machine.members is None or (is_recent and not is_survived(world, (), {node})):
            return nothing
        world.asked_at[node] = world.loop.now
        world.spawn(_heed(machine.members.set_wish(node, self.wish)), machine.node)
        return nothing


@dataclass(frozen=True, slots=True)
class Dwindle:
    """A machine is lost for good; once that shows, operators take the others' votes, one by one."""

    who: Who

    def begin(self, world: World) -> Undo:
        Lose(self.who).begin(world)
        for number in range(len(world.machines)):
            wish = SetWish(number, Wish.LEARNER, number)
            world.loop.after(NOTICED_WITHIN_S + 1.0 + number, wish.begin, world)
        return nothing


@dataclass(frozen=True, slots=True)
class Add:
    """An operator makes a machine a member, one that never was or one that was removed.

    It begins with an empty disk, as is advised, or with the one that it was removed with.
    """

    wish: Wish
    on: int
    seed: float

    def begin(self, world: World) -> Undo:
        rng, on = random.Random(self.seed), world.machine(self.on)
        strangers = [
            machine
            for node, machine in world.machines.items()
            if node not in world.ledger.state.members and not machine.is_gone
        ]
        is_recent = world.loop.now - world.lost_at < NOTICED_WITHIN_S
        if not strangers or on.members is None or is_recent:
            return nothing
        guest = rng.choice(strangers)
        world.asked_at[guest.node] = world.loop.now
        if not guest.is_unused and (rng.random() < 0.5 or not world.knows_a_voter(guest)):
            guest.crash(power=True)
            world.empty(guest)
        world.spawn(self._let_in(world, on, guest), on.node)
        return nothing

    async def _let_in(self, world: World, on: Machine, guest: Machine) -> None:
        if on.members is not None:
            await _heed(on.members.add(guest.node, f"{guest.node}:1", self.wish))
        if guest.is_unused:
            world.tell(guest)
            guest.is_unused = False
        guest.start()


def _ask(world: World, machine: Machine, request: Callable[[Operator], Awaitable[object]]) -> None:
    """Ask something of a machine's process, if it runs."""
    if machine.agent is not None:
        world.spawn(_heed(request(machine.agent.operator)), machine.node)


async def _heed(request: Awaitable[object]) -> None:
    """Carry out a request; a refusal is an answer like another."""
    with suppress(RaftError):
        await request
