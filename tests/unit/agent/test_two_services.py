"""Two services of one cluster: each is published, withdrawn and paid for by itself."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.hs.address import OnionAddress
from tests.unit.agent.scenes import EVERY_POINT, in_world, office_holder, shows
from tests.unit.agent.world import (
    ADA,
    BLOG,
    BOB,
    CYD,
    NAMES,
    SITE,
    SITE_AND_BLOG,
    World,
    eventually,
)

BLOG_POINTS = {4, 5, 6, 14, 15, 16, 24, 25, 26}


def with_two_services(
    scenario: Callable[[World], Awaitable[None]],
    keyless: Collection[tuple[NodeId, OnionAddress]] = (),
) -> World:
    """Play a scenario in a world where each node holds three points for either service."""

    async def play(world: World) -> None:
        for number, name in enumerate(NAMES):
            world.hold(name, *(10 * number + i for i in (4, 5, 6)), service=BLOG)
        await scenario(world)

    return in_world(play, lambda: World(services=SITE_AND_BLOG, keyless=keyless))


async def both_shown(world: World) -> None:
    await eventually(shows(world, *EVERY_POINT), limit_s=10)
    await eventually(shows(world, *BLOG_POINTS, service=BLOG), limit_s=10)


def num_uploads(world: World, service: OnionAddress) -> int:
    return sum(upload.service == service for upload in world.hsdirs.uploads)


def test_each_service_shows_its_own_points_under_its_own_keys_and_revisions() -> None:
    world = with_two_services(both_shown)
    revisions = defaultdict(set)
    for upload in world.hsdirs.uploads:
        assert upload.relays == (EVERY_POINT if upload.service == SITE else BLOG_POINTS)
        revisions[upload.service, upload.blinded].add(upload.revision)
    assert sorted(service for service, _ in revisions) == sorted([SITE, SITE, BLOG, BLOG])
    assert [len(found) for found in revisions.values()] == [1, 1, 1, 1]


def test_points_of_one_service_that_are_gone_leave_only_its_descriptor() -> None:
    async def scenario(world: World) -> None:
        await both_shown(world)
        before = num_uploads(world, SITE)
        world.hold(CYD, service=BLOG)
        await eventually(shows(world, 4, 5, 6, 14, 15, 16, service=BLOG), limit_s=1)
        await asyncio.sleep(60)
        assert shows(world, *EVERY_POINT)()
        assert num_uploads(world, SITE) == before

    in_pool = with_two_services(scenario).state.pool
    assert (SITE, CYD) in in_pool
    assert (BLOG, CYD) not in in_pool


def test_dead_node_leaves_the_descriptors_of_every_service() -> None:
    async def scenario(world: World) -> None:
        await both_shown(world)
        world.kill(CYD)
        await eventually(shows(world, 1, 2, 3, 11, 12, 13), limit_s=10)
        await eventually(shows(world, 4, 5, 6, 14, 15, 16, service=BLOG), limit_s=1)

    with_two_services(scenario)


def test_upload_budget_of_one_service_is_not_spent_by_another() -> None:
    async def scenario(world: World) -> None:
        await both_shown(world)
        for number in range(12):
            world.hold(BOB, *([14, 15, 16] if number % 2 else [14]), service=BLOG)
            await asyncio.sleep(1.5)
        spent = [p.budget.millitokens < 2_000 for p in world.publications(BLOG)]
        assert spent == [True, True]  # the blog's budget is down to what is kept, or below
        world.hold(CYD, 21, 22)
        await eventually(shows(world, *(EVERY_POINT - {23})), limit_s=0.9)
        world.hold(CYD, 21, 22, 29)
        await eventually(shows(world, *(EVERY_POINT - {23} | {29})), limit_s=2)

    with_two_services(scenario)


def test_leader_without_the_key_of_one_service_hands_over_to_a_node_with_all() -> None:
    async def scenario(world: World) -> None:
        await both_shown(world)
        assert office_holder(world) == BOB

    with_two_services(scenario, keyless=[(ADA, BLOG)])


def test_service_whose_key_no_node_has_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=20)
        world.hold(CYD, 21, 22)
        await eventually(shows(world, *(EVERY_POINT - {23})), limit_s=0.9)
        await asyncio.sleep(600)
        document = world.nodes[ADA].status()
        fault = f"no master key for {BLOG.shortened()} on this node"
        assert [f"{name} could not publish: {fault}" for name in NAMES] == [
            problem for problem in document["problems"] if "could not publish" in problem
        ]
        published = {service["name"]: service["published"] for service in document["services"]}
        assert published == {"site": True, "blog": False}

    world = with_two_services(scenario, keyless=[(name, BLOG) for name in NAMES])
    assert num_uploads(world, BLOG) == 0
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == []
