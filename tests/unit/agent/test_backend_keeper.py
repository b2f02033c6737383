"""The office holder's watch over onion services that run no rbcluster."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from rbcluster.core.codec import decode_command
from rbcluster.core.commands import ReportBackend
from rbcluster.core.state import Backend, Policy
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import DescriptorContent, Standing, build_descriptor
from rbcluster.hs.hashring import HashRing, slot_times
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import DescriptorSlot, TimePeriod
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows
from tests.unit.agent.world import (
    BOB,
    FULL_HOUR,
    SITE,
    START,
    TIMES,
    World,
    consensus,
    eventually,
    point,
)

KEY = IdentityKeypair.from_seed(bytes([77]) * 32)
BACKEND = OnionAddress(KEY.public)
PERIOD = TimePeriod.containing(START, TIMES)  # in force: the second slot's, for it is past noon
POLICY = Policy(fetch_every_ms=5_000, stale_after_ms=60_000)


def make_world() -> World:
    return World(POLICY, backends=[(SITE, BACKEND)])


def known(world: World) -> Backend:
    return world.state.backends[SITE, BACKEND]


def responsible(world: World, period: TimePeriod = PERIOD) -> tuple[Fingerprint, ...]:
    slot = next(s for s in slot_times(world.consensus).values() if s.period == period)
    blinded = derive_blinded_keypair(KEY, period).public
    return HashRing.at(world.consensus, slot).responsible(blinded)


def upload(
    world: World,
    revision: int,
    *numbers: int,
    hsdirs: tuple[Fingerprint, ...] = (),
    master: IdentityKeypair = KEY,
    period: TimePeriod = PERIOD,
) -> None:
    """Let a backend's tor publish: these HSDirs hold its descriptor, or all who should."""
    blinded = derive_blinded_keypair(KEY, period).public
    content = DescriptorContent(
        identity=master.public,
        period=period,
        keypair=derive_blinded_keypair(master, period),
        revision=RevisionCounter(revision),
        points=tuple(map(point, numbers)),
        traits=ServiceTraits(),
    )
    for hsdir in hsdirs or responsible(world, period):
        world.hsdirs.held[hsdir, blinded] = revision, build_descriptor(content, START, bytes)


def test_points_of_a_backend_are_found_and_shown_beside_the_nodes() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51, 52)
        await eventually(shows(world, *EVERY_POINT, 51, 52), limit_s=20)
        assert known(world).standing == Standing(period=PERIOD, revision=RevisionCounter(5))

    in_world(scenario, make_world)


def test_newer_descriptor_is_followed_and_the_same_one_costs_no_entry() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51, 52)
        await eventually(shows(world, *EVERY_POINT, 51, 52), limit_s=20)
        await asyncio.sleep(20)
        before = world.index
        await asyncio.sleep(30)
        assert world.index == before
        upload(world, 6, 52, 53)
        await eventually(shows(world, *EVERY_POINT, 52, 53), limit_s=10)

    in_world(scenario, make_world)


def test_hsdir_that_lags_behind_is_passed_over() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51)
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=20)
        first, *_ = responsible(world)
        upload(world, 6, 52, hsdirs=(first,))  # the others still hold the one before
        await eventually(lambda: known(world).points == (point(52),), limit_s=60)
        await asyncio.sleep(30)
        assert shows(world, *EVERY_POINT, 52)()

    in_world(scenario, make_world)


def test_hsdir_that_has_none_is_passed_over_within_seconds() -> None:
    async def scenario(world: World) -> None:
        *_, last = responsible(world)
        upload(world, 5, 51, hsdirs=(last,))
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=60)

    in_world(scenario, make_world)


def test_descriptor_by_another_key_is_not_believed() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51, master=IdentityKeypair.from_seed(bytes([78]) * 32))
        await asyncio.sleep(60)
        assert known(world) == Backend()

    in_world(scenario, make_world)


def test_backend_whose_revision_rises_no_more_is_taken_off_though_hsdirs_serve_it() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51)
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=20)
        await asyncio.sleep(45)
        upload(world, 6, 51)  # it lives
        await asyncio.sleep(45)
        assert shows(world, *EVERY_POINT, 51)()
        await eventually(lambda: not known(world).points, limit_s=30)
        await asyncio.sleep(30)
        assert shows(world, *EVERY_POINT)()
        upload(world, 7, 51)
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=30)

    in_world(scenario, make_world)


def test_new_leader_goes_on_from_what_the_old_one_knew() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51)
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=20)
        risen_at = known(world).risen_at
        world.elect(BOB)
        await asyncio.sleep(20)
        assert known(world).risen_at == risen_at
        upload(world, 6, 52)
        await eventually(shows(world, *EVERY_POINT, 52), limit_s=25)

    in_world(scenario, make_world)


def test_when_the_period_turns_the_backends_other_descriptor_is_followed() -> None:
    async def scenario(world: World) -> None:
        upload(world, 5, 51)
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=20)
        turn = FULL_HOUR.replace(hour=12) + timedelta(days=1)
        world.set_clocks(turn - START)
        world.consensus = consensus(turn)
        upload(world, 2, 61, period=PERIOD.next())
        world.ring()
        await eventually(
            lambda: (
                known(world).standing == Standing(period=PERIOD.next(), revision=RevisionCounter(2))
            ),
            limit_s=30,
        )
        assert known(world).points == (point(61),)

    in_world(scenario, make_world)


def test_report_of_a_backend_that_gets_lost_is_made_again_soon() -> None:
    lost = []

    def loses(command: bytes) -> bool:
        if is_backends := isinstance(decode_command(command), ReportBackend):
            lost.append(command)
        return is_backends and len(lost) <= 2

    async def scenario(world: World) -> None:
        world.loses = loses
        upload(world, 5, 51)
        await eventually(shows(world, *EVERY_POINT, 51), limit_s=20)

    in_world(scenario, make_world)
    assert len(lost) == 3


@pytest.mark.parametrize("slot", DescriptorSlot)
def test_only_the_descriptor_that_clients_see_is_looked_for(slot: DescriptorSlot) -> None:
    """After noon that is the second; what HSDirs hold of the first is of no use."""

    async def scenario(world: World) -> None:
        period = slot_times(world.consensus)[slot].period
        upload(world, 5, 51, period=period)
        await asyncio.sleep(60)
        assert bool(known(world).points) is (slot is DescriptorSlot.SECOND)

    in_world(scenario, make_world)
