"""What an operator asks of the cluster: done by the leader, or refused in words."""

from __future__ import annotations

import asyncio

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.errors import NoLeader, OutcomeUnknown, RuleBroken
from rbcluster.tor.settings import TorStatus
from tests.unit.agent.scenes import EVERY_POINT, in_world, office_holder, shows
from tests.unit.agent.world import ADA, BOB, CYD, NAMES, World, eventually


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
        with pytest.raises(RuleBroken, match="ada still leads: bob did not take over"):
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


# --- draining


WITHOUT_CYD = EVERY_POINT - {21, 22, 23}


@pytest.mark.parametrize("asked", NAMES)
def test_drained_node_leaves_the_descriptor_and_comes_back(asked: NodeId) -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        operator = world.nodes[asked].operator
        assert await operator.drain(CYD, force=False) == 2
        await eventually(shows(world, *WITHOUT_CYD), limit_s=2)
        await operator.undrain(CYD)
        await eventually(shows(world, *EVERY_POINT), limit_s=20)
        assert world.leader == ADA

    in_world(scenario)


def test_leader_hands_over_before_it_is_drained() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        seen: list[tuple[NodeId | None, bool]] = []
        world.nodes[CYD].cluster.subscribe(
            lambda: seen.append((office_holder(world), world.state.members[ADA].drained))
        )
        await world.nodes[CYD].operator.drain(ADA, force=False)
        assert (ADA, True) not in seen
        assert (BOB, True) in seen
        await eventually(shows(world, *EVERY_POINT - {1, 2, 3}), limit_s=5)

    in_world(scenario)


def test_leader_that_nobody_relieves_is_not_drained_unless_forced() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.keeps_leader = True
        with pytest.raises(RuleBroken, match="ada still leads"):
            await world.nodes[BOB].operator.drain(ADA, force=False)
        assert not world.state.members[ADA].drained
        await world.nodes[BOB].operator.drain(ADA, force=True)
        assert world.state.members[ADA].drained

    in_world(scenario)


def test_last_node_on_show_keeps_the_leadership_when_its_drain_is_refused() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        for node in (BOB, CYD):
            await world.nodes[BOB].operator.drain(node, force=False)
        with pytest.raises(RuleBroken, match="refused: no node would be left on show"):
            await world.nodes[BOB].operator.drain(ADA, force=False)
        assert (world.leader, world.num_transfers) == (ADA, 0)
        assert await world.nodes[BOB].operator.drain(ADA, force=True) == 0

    in_world(scenario)


def test_drained_node_that_is_elected_hands_over_to_one_that_is_not() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        for node in (BOB, CYD):
            await world.nodes[ADA].operator.drain(node, force=False)
        world.elect(BOB)
        await eventually(lambda: office_holder(world) == ADA, limit_s=5)
        world.kill(ADA)
        world.elect(CYD)
        await asyncio.sleep(10)
        assert world.leader == CYD  # nobody would do better

    in_world(scenario)


def test_leader_that_can_not_publish_hands_over_to_one_that_is_not_drained() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        await world.nodes[ADA].operator.drain(BOB, force=False)
        world.tors[ADA].status = TorStatus()
        world.ring()
        await eventually(lambda: office_holder(world) != ADA, limit_s=5)
        assert office_holder(world) == CYD

    in_world(scenario)


def test_drained_node_leads_rather_than_one_that_can_not_publish() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        await world.nodes[ADA].operator.drain(BOB, force=False)
        world.tors[ADA].status = world.tors[CYD].status = TorStatus()
        world.ring()
        await eventually(lambda: office_holder(world) == BOB, limit_s=5)
        await asyncio.sleep(10)
        assert world.leader == BOB

    in_world(scenario)


def test_heartbeats_tell_how_many_visitors_are_connected() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.tors[CYD].num_visitors = 7
        world.tors[BOB].num_visitors = None
        await asyncio.sleep(1.1)
        visitors = {node["name"]: node["visitors"] for node in world.nodes[ADA].status()["nodes"]}
        assert visitors == {"ada": 0, "bob": None, "cyd": 7}

    in_world(scenario)


# --- maintenance


def test_in_maintenance_silence_withdraws_nobody_until_it_ends_by_itself() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        until = await world.nodes[BOB].operator.maintain(60_000)
        assert until == world.clocks[BOB].wall_ms() - 10 + 60_000  # what the proposal took
        world.kill(CYD)
        await asyncio.sleep(59)
        assert world.on_show() == {frozenset(EVERY_POINT)}
        assert world.state.maintenance_until == until
        await eventually(shows(world, *WITHOUT_CYD), limit_s=3)
        assert world.state.maintenance_until is None

    in_world(scenario)


def test_maintenance_ends_when_the_operator_says_so() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        await world.nodes[BOB].operator.maintain(1_800_000)
        world.kill(CYD)
        await asyncio.sleep(20)
        assert await world.nodes[BOB].operator.maintain(None) is None
        await eventually(shows(world, *WITHOUT_CYD), limit_s=2)

    in_world(scenario)


def test_maintenance_outlives_the_leader_who_saw_it_begin() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        await world.nodes[BOB].operator.maintain(40_000)
        world.kill(ADA)
        world.elect(BOB)
        await asyncio.sleep(30)
        assert world.on_show() == {frozenset(EVERY_POINT)}
        await eventually(shows(world, *EVERY_POINT - {1, 2, 3}), limit_s=13)

    in_world(scenario)


def test_in_maintenance_a_node_whose_tor_lost_its_circuits_leaves_as_ever() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        await world.nodes[BOB].operator.maintain(60_000)
        world.hold(CYD)
        await eventually(shows(world, *WITHOUT_CYD), limit_s=2)

    in_world(scenario)
