"""A node's loops: what peers say reaches them, and a bug in one stops none."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from rbcluster.core.state import Role
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows
from tests.unit.agent.world import ADA, BOB, CYD, SITE, World, eventually


def test_message_that_is_no_heartbeat_is_named_with_its_sender_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(world: World) -> None:
        await eventually(lambda: BOB in world.nodes[ADA].peers.records, limit_s=5)
        before = world.nodes[ADA].peers.record(BOB)
        world.nodes[ADA].hear(BOB, b"\xff not a heartbeat")
        assert world.nodes[ADA].peers.record(BOB) == before

    in_world(scenario)
    (message,) = (r.message for r in caplog.records if r.levelno >= logging.WARNING)
    assert message.startswith("node=bob sent something else than a heartbeat")


def test_loop_that_meets_a_bug_is_logged_as_one_and_started_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(world: World) -> None:
        world.tors[CYD].bug = ZeroDivisionError()
        await eventually(shows(world, 1, 2, 3, 11, 12, 13), limit_s=20)
        assert world.leader == ADA  # the others were not disturbed
        world.tors[CYD].bug = None
        await eventually(shows(world, *EVERY_POINT), limit_s=20)

    in_world(scenario)
    bugs = [r for r in caplog.records if "a bug: the reporter loop failed" in r.message]
    assert bugs
    assert all(r.exc_info for r in bugs)


def test_nodes_tell_each_other_who_holds_the_authority() -> None:
    async def scenario(world: World) -> None:
        await eventually(lambda: BOB in world.nodes[ADA].peers.records, limit_s=5)
        assert world.nodes[ADA].peers.authorities() == set()
        world.authorities = {BOB}
        await eventually(lambda: world.nodes[ADA].peers.authorities() == {BOB}, limit_s=5)

    in_world(scenario)


def test_change_of_a_nodes_faults_is_told_at_once() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.tors[BOB].status = type(world.tors[BOB].status)(faults=("tor is gone",))
        world.nodes[BOB].ring()
        await asyncio.sleep(0.01)
        record = world.nodes[ADA].peers.record(BOB)
        assert record is not None
        assert record.heartbeat.faults == ("tor is gone",)

    in_world(scenario)


@pytest.mark.parametrize("role", Role)
def test_only_a_voter_has_a_fault_for_want_of_a_master_key(role: Role) -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=20)
        cyd = replace(world.state.members[CYD], role=role)
        world.state = replace(world.state, members={**world.state.members, CYD: cyd})
        faults = world.nodes[CYD].publishing_faults()
        wanted = (f"no master key for {SITE.shortened()} on this node",)
        assert faults == (wanted if role is Role.VOTER else ())

    in_world(scenario, lambda: World(keyless=[(CYD, SITE)]))
