"""What an operator asks of the cluster: done by the leader, or refused in words."""

from __future__ import annotations

import asyncio

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.errors import NoLeader, OutcomeUnknown, RuleBroken
from rbcluster.tor.settings import TorStatus
from tests.unit.agent.test_publishing import EVERY_POINT, in_world, shows
from tests.unit.agent.world import ADA, BOB, CYD, World, eventually


@pytest.mark.parametrize("asked", [ADA, BOB], ids=["on the leader", "on a follower"])
def test_leadership_moves_to_whom_the_operator_names(asked: NodeId) -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        assert await world.nodes[asked].operator.transfer(CYD) == CYD
        assert world.leader == CYD
        assert world.state.office is not None
        assert world.state.office.node == CYD
        assert world.state.transfer is None

    in_world(scenario)


def test_leader_chooses_one_that_can_publish_if_the_operator_names_nobody() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.tors[BOB].status = TorStatus()
        world.ring()
        await asyncio.sleep(0.1)
        assert await world.nodes[BOB].operator.transfer(None) == CYD

    in_world(scenario)


def test_transfer_to_whoever_leads_is_done_already() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        assert await world.nodes[BOB].operator.transfer(ADA) == ADA
        assert world.num_transfers == 0

    in_world(scenario)


def test_transfer_that_nobody_takes_is_tried_once_and_told() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.keeps_leader = True
        with pytest.raises(RuleBroken, match="ada still leads: bob did not take the leadership"):
            await world.nodes[CYD].operator.transfer(BOB)
        await asyncio.sleep(10)
        assert world.num_transfers == 1
        assert world.state.transfer is None

    in_world(scenario)


def test_transfer_to_a_stranger_is_refused_by_a_rule() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        with pytest.raises(RuleBroken, match="refused: dan is no member"):
            await world.nodes[BOB].operator.transfer(NodeId("dan"))

    in_world(scenario)


def test_request_waits_for_an_election() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.leader = None
        asked = asyncio.create_task(world.nodes[BOB].operator.transfer(CYD))
        await asyncio.sleep(2)
        assert not asked.done()
        world.leader = ADA
        assert await asked == CYD

    in_world(scenario)


def test_without_a_leader_the_operator_is_told_that_nothing_was_done() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.leader = None
        with pytest.raises(NoLeader, match="nothing was changed: no leader: see rbcluster status"):
            await world.nodes[BOB].operator.transfer(CYD)

    in_world(scenario)


def test_before_anyone_took_office_there_is_nobody_to_ask() -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(NoLeader, match="no leader has taken office yet"):
            await world.nodes[BOB].operator.transfer(CYD)

    in_world(scenario)


def test_lost_answer_leaves_it_open_whether_it_was_done() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.loses = lambda _: True
        with pytest.raises(OutcomeUnknown, match="it may have been done, or not: it got lost"):
            await world.nodes[BOB].operator.transfer(CYD)

    in_world(scenario)
