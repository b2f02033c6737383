"""Who has turned the time period fetches for those that have not; nobody else does."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from rbcluster.agent.heartbeat import Heartbeat
from rbcluster.agent.period_courier import PREFIX, Delivery
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.errors import ParseError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.hashring import HashRing, slot_times
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import DescriptorSlot
from tests.unit.agent.scenes import in_world
from tests.unit.agent.world import (
    ADA,
    BOB,
    CYD,
    FULL_HOUR,
    NAMES,
    SITE,
    World,
    consensus,
    eventually,
    local_points,
    point,
)

TURN = FULL_HOUR.replace(hour=12)
BEFORE, AFTER = consensus(TURN - timedelta(hours=1)), consensus(TURN)
SECOND = slot_times(AFTER)[DescriptorSlot.SECOND]
KEYS = {name: IdentityKeypair.from_seed(bytes([90 + n]) * 32) for n, name in enumerate(NAMES)}
OWN = {name: OnionAddress(key.public) for name, key in KEYS.items()}


def document(name: NodeId) -> bytes:
    """What a node's tor has published for the period that begins at noon."""
    content = DescriptorContent(
        identity=OWN[name].identity,
        period=SECOND.period,
        keypair=derive_blinded_keypair(KEYS[name], SECOND.period),
        revision=RevisionCounter(1),
        points=(point(50),),
        traits=ServiceTraits(),
    )
    return build_descriptor(content, TURN, bytes)


DOCUMENTS = {name: document(name) for name in NAMES}


def make_world(*ahead: NodeId, num_holding: int | None = None) -> World:
    """Three instances; the tors of some have turned the period.

    :param num_holding: how many of those HSDirs that should hold the new descriptors do so.
    """
    world = World()
    world.consensus = BEFORE
    world.set_clocks(TURN - FULL_HOUR)
    for name in NAMES:
        world.tors[name].view = AFTER if name in ahead else None
        blinded = derive_blinded_keypair(KEYS[name], SECOND.period).public
        hsdirs = HashRing.at(AFTER, SECOND).responsible(blinded)
        for hsdir in hsdirs if num_holding is None else hsdirs[-num_holding:]:
            world.hsdirs.held[hsdir, blinded] = 1, DOCUMENTS[name]
    return world


def serve(world: World) -> None:
    """Have every node serve under an address of its own."""
    for number, name in enumerate(NAMES):
        world.tors[name].local[SITE] = local_points(10 * number + 1, origin=OWN[name])
        world.nodes[name].ring()


def offered(world: World, name: NodeId) -> list[tuple[OnionAddress, bytes]]:
    return world.tors[name].offered


def test_nodes_that_are_behind_get_their_own_descriptors_from_one_that_is_ahead() -> None:
    async def scenario(world: World) -> None:
        serve(world)
        await eventually(lambda: bool(offered(world, ADA) and offered(world, CYD)), limit_s=20)
        await asyncio.sleep(60)

    world = in_world(scenario, lambda: make_world(BOB))
    assert offered(world, ADA) == [(SITE, DOCUMENTS[ADA])]
    assert offered(world, CYD) == [(SITE, DOCUMENTS[CYD])]
    assert offered(world, BOB) == []


def test_of_two_that_are_ahead_one_helps() -> None:
    async def scenario(world: World) -> None:
        serve(world)
        await asyncio.sleep(60)

    world = in_world(scenario, lambda: make_world(ADA, CYD))
    assert offered(world, BOB) == [(SITE, DOCUMENTS[BOB])]


@pytest.mark.parametrize("ahead", [(), NAMES])
def test_nobody_is_helped_where_all_are_in_one_period(ahead: tuple[NodeId, ...]) -> None:
    async def scenario(world: World) -> None:
        serve(world)
        await asyncio.sleep(60)

    world = in_world(scenario, lambda: make_world(*ahead))
    assert [offered(world, name) for name in NAMES] == [[], [], []]


def test_node_of_a_shared_identity_is_not_helped() -> None:
    async def scenario(world: World) -> None:
        await eventually(lambda: len(world.state.pool) == len(NAMES), limit_s=20)
        await asyncio.sleep(60)

    world = in_world(scenario, lambda: make_world(BOB))
    assert [offered(world, name) for name in NAMES] == [[], [], []]


def test_hsdirs_are_asked_in_turn_until_one_has_it() -> None:
    async def scenario(world: World) -> None:
        serve(world)
        await eventually(lambda: bool(offered(world, ADA)), limit_s=90)

    in_world(scenario, lambda: make_world(BOB, num_holding=1))


def test_node_that_stays_behind_is_helped_again_after_a_while_and_then_left_alone() -> None:
    async def scenario(world: World) -> None:
        serve(world)
        await asyncio.sleep(330)
        assert len(offered(world, ADA)) == 2
        world.tors[ADA].view = AFTER
        await asyncio.sleep(400)
        assert len(offered(world, ADA)) == 2

    in_world(scenario, lambda: make_world(BOB))


def test_delivery_that_is_cut_is_complained_of_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(world: World) -> None:
        world.nodes[ADA].hear(BOB, PREFIX + b"short")
        assert offered(world, ADA) == []

    in_world(scenario)
    (message,) = (r.message for r in caplog.records if r.levelno >= logging.WARNING)
    assert "no delivery of a descriptor" in message


def test_delivery_comes_back_from_its_bytes() -> None:
    sent = Delivery(SITE, b"a document")
    assert Delivery.from_bytes(sent.to_bytes()) == sent
    with pytest.raises(ParseError):
        Delivery.from_bytes(sent.to_bytes()[1:])


def test_heartbeat_of_an_older_release_says_nothing_of_its_period() -> None:
    assert Heartbeat(sent_at_ms=UnixMs(1)).period is None
