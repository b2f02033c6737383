"""The leader's duties beside publishing: founding, presence, stepping aside."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

from rbcluster.core.apply import apply
from rbcluster.core.codec import decode_command
from rbcluster.core.commands import Applied, RaiseSchema
from rbcluster.core.state import Presence
from rbcluster.tor.settings import TorStatus
from tests.shared.virtual_time import VirtualTimeLoop
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows
from tests.unit.agent.world import ADA, BOB, CYD, NAMES, World, eventually


def test_first_leader_founds_the_cluster_and_takes_office() -> None:
    async def scenario(world: World) -> None:
        await eventually(lambda: world.state.office is not None, limit_s=5)

    world = in_world(scenario)
    assert set(world.state.members) == set(NAMES)
    assert world.state.office is not None
    assert (world.state.office.node, world.state.office.term) == (ADA, 1)


def test_silent_node_is_withdrawn_after_six_seconds_and_not_before() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.kill(CYD)
        await asyncio.sleep(4.5)
        assert world.state.members[CYD].presence is Presence.LIVE
        await eventually(lambda: world.state.members[CYD].presence is Presence.WITHDRAWN, 3)

    in_world(scenario)


def test_leader_whose_tor_is_gone_hands_over_to_one_that_can_publish() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.tors[ADA].status = TorStatus()
        world.tors[ADA].local.clear()
        world.tors[BOB].status = TorStatus(connected=True, faults=("wrong options",))
        world.ring()
        await eventually(lambda: world.leader == CYD, limit_s=5)

    in_world(scenario)


def test_leader_hands_over_to_nobody_whose_word_is_old() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.mute.add(BOB)
        await asyncio.sleep(4)
        world.tors[ADA].status = TorStatus()
        world.ring()
        await eventually(lambda: world.leader != ADA, limit_s=5)
        assert (world.leader, world.num_transfers) == (CYD, 1)

    in_world(scenario)


def test_leader_stays_when_nobody_could_do_better() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        for tor in world.tors.values():
            tor.status = TorStatus()
        world.ring()
        await asyncio.sleep(30)
        assert world.leader == ADA
        assert world.nodes[ADA].status()["nodes"][0]["faults"]

    in_world(scenario)


def test_short_weakness_does_not_cost_the_leadership() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        healthy = world.tors[ADA].status
        world.tors[ADA].status = TorStatus()
        world.ring()
        await asyncio.sleep(1.5)
        world.tors[ADA].status = healthy
        world.ring()
        await asyncio.sleep(10)
        assert world.leader == ADA

    in_world(scenario)


def test_leader_with_a_wrong_clock_hands_over() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.clocks[ADA].skew_s = 45.0
        await eventually(lambda: world.leader != ADA, limit_s=10)

    in_world(scenario)


def test_leader_whose_disk_fails_hands_over_to_one_whose_disk_does_not() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.disk_faults |= {ADA: "the disk is full", BOB: "the disk hangs"}
        world.ring()
        await eventually(lambda: world.leader == CYD, limit_s=4)

    in_world(scenario)


def test_node_that_stops_leaves_its_office_to_an_able_one() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.tors[BOB].status = TorStatus()
        world.ring()
        await asyncio.sleep(2)
        await world.nodes[ADA].office.leave_office()
        assert world.leader == CYD

    in_world(scenario)


def test_leader_that_may_not_take_office_does_not_fill_the_log_with_attempts() -> None:
    async def scenario(world: World) -> None:
        seed = world.nodes[ADA].office.seed
        others = tuple(member for member in seed.members if member.node != ADA)
        world.state, verdict = apply(world.state, replace(seed, members=others))
        assert verdict == Applied()
        before = world.index
        await asyncio.sleep(10)
        assert world.state.office is None
        assert world.index - before < 40  # about two a second, and a few reports

    in_world(scenario)


def test_leader_pauses_after_a_hand_over_that_failed() -> None:
    """While it tries, no proposal gets through."""

    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.keeps_leader = True
        world.tors[ADA].status = TorStatus()
        world.ring()
        await asyncio.sleep(21)
        assert 5 <= world.num_transfers <= 10

    in_world(scenario)


def test_nobody_is_withdrawn_for_the_time_this_node_stood_still() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        before = len(world.hsdirs.uploads)
        cast("VirtualTimeLoop", asyncio.get_running_loop()).jump(20)
        await asyncio.sleep(5)
        assert len(world.hsdirs.uploads) == before
        world.kill(CYD)
        await eventually(lambda: world.state.members[CYD].presence is Presence.WITHDRAWN, 8)

    in_world(scenario)


def test_schema_is_raised_once_every_member_knows_it_and_not_before() -> None:
    raised: list[RaiseSchema] = []

    def catches(data: bytes) -> bool:
        command = decode_command(data)
        if isinstance(command, RaiseSchema):
            raised.append(command)
        return isinstance(command, RaiseSchema)  # this release could not apply it

    async def scenario(world: World) -> None:
        world.loses = catches
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        for name in (ADA, BOB):
            world.nodes[name].office.newest_schema = 3
        world.kill(CYD)  # one that is down is waited for: it would not understand the others
        await asyncio.sleep(10)
        assert not raised
        world.nodes[CYD].office.newest_schema = 2
        world.nodes[ADA].hear(CYD, world.nodes[CYD].heartbeat().to_bytes())
        await eventually(lambda: bool(raised), limit_s=5)

    in_world(scenario)
    assert {(command.version, command.office_node) for command in raised} == {(2, ADA)}
