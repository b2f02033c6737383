"""What most stories of the world begin with, and what they ask of it in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable

from rbcluster.core.ids import NodeId
from rbcluster.hs.address import OnionAddress
from tests.shared.virtual_time import run_virtually
from tests.unit.agent.world import ADA, NAMES, SITE, World

EVERY_POINT = {1, 2, 3, 11, 12, 13, 21, 22, 23}


def in_world(
    scenario: Callable[[World], Awaitable[None]], make_world: Callable[[], World] = World
) -> World:
    """Play a scenario in a fresh world: ada leads, each node holds three points of the site."""

    async def play() -> World:
        world = make_world()
        for number, name in enumerate(NAMES):
            world.hold(name, *(10 * number + i for i in (1, 2, 3)))
        world.start()
        world.elect(ADA)
        try:
            await scenario(world)
        finally:
            await world.stop()
        return world

    return run_virtually(play())


def shows(world: World, *numbers: int, service: OnionAddress = SITE) -> Callable[[], bool]:
    wanted = {frozenset(numbers)}
    return lambda: world.all_accepted(service) and world.on_show(service) == wanted


def office_holder(world: World) -> NodeId | None:
    return world.state.office.node if world.state.office else None


def uploads_by_key(world: World) -> dict[object, list[int]]:
    revisions: dict[object, list[int]] = defaultdict(list)
    for upload in world.hsdirs.uploads:
        revisions[upload.hsdir, upload.blinded].append(upload.revision)
    return revisions
