"""What a leader sees of the members, and does about them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.agent.heartbeat import FRESH_HEARTBEAT_S, Heartbeat
from rbcluster.agent.membership import MembershipKeeper
from rbcluster.agent.peers import PeerTable
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import ChangeRole, Verdict
from rbcluster.core.ids import Incarnation, NodeId, UnixMs
from rbcluster.core.state import Member, Role, Wish
from rbcluster.instants import Monotonic
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.raft.view import RaftView
from tests.unit.agent.world import ADA, BOB, CYD, ModelCluster, World

HERE = Incarnation(b"i" * 16)
NEW = NodeId("new")
NOW = Monotonic(100.0)


class Clock:
    """It is always now."""

    def wall_ms(self) -> UnixMs:
        return UnixMs(1)

    def monotonic(self) -> Monotonic:
        return NOW


class Linked(ModelCluster):
    """A leader's door to the log, with everybody linked; it notes which changes it is asked for."""

    def __init__(self, world: World) -> None:
        super().__init__(world, ADA)
        self.steps: list[bytes] = []

    @property
    def view(self) -> RaftView:
        return replace(super().view, storages=dict.fromkeys([ADA, BOB, CYD, NEW], HERE))

    async def reconfigure(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        assert timeout_s > 0
        self.steps.append(command)
        return ProposalResult(outcome=Outcome.REFUSED, verdict=None, detail="a test")


class Desk:
    """Ada leads bob and cyd; a new member, which holds the log, is to get a vote."""

    def __init__(self) -> None:
        world = World()
        world.elect(ADA)
        world.alive.add(NEW)
        members = {
            node: Member(node=node, address=f"{node}:1", role=Role.VOTER, incarnation=HERE)
            for node in (ADA, BOB, CYD)
        }
        members[NEW] = Member(node=NEW, address="new:1", role=Role.LEARNER, wish=Wish.VOTER)
        world.state = replace(world.state, members=members)
        self.cluster = Linked(world)
        self.peers = PeerTable(Monotonic(0.0))
        self.keeper = MembershipKeeper(ADA, self.cluster, self.peers, Clock())

    def hear(self, *, has_keys: bool = True, ago_s: float = 0.0) -> None:
        word = Heartbeat(sent_at_ms=UnixMs(1), has_keys=has_keys)
        self.peers.hear(NEW, word, now=Monotonic(NOW - ago_s), wall_ms=UnixMs(1))

    def obstacles(self) -> dict[NodeId, str | None]:
        return {member.node: why for member, why in self.keeper.unfulfilled()}


async def test_a_learner_that_has_caught_up_and_holds_the_keys_gets_its_vote() -> None:
    desk = Desk()
    desk.hear()
    assert desk.obstacles() == {NEW: None}
    assert not await desk.keeper.step()
    vote = ChangeRole(node=NEW, role=Role.VOTER, incarnation=HERE)
    assert desk.cluster.steps == [encode_command(vote)]


async def test_a_learner_without_the_keys_gets_no_vote() -> None:
    desk = Desk()
    desk.hear(has_keys=False)
    assert "no usable master key" in str(desk.obstacles()[NEW])
    assert not await desk.keeper.step()
    assert desk.cluster.steps == []


@pytest.mark.parametrize("ago_s", [None, FRESH_HEARTBEAT_S])
async def test_a_learner_that_has_not_said_just_now_what_it_holds_gets_no_vote(
    ago_s: float | None,
) -> None:
    desk = Desk()
    if ago_s is not None:
        desk.hear(ago_s=ago_s)
    assert desk.obstacles() == {NEW: "new has not caught up yet"}
    assert not await desk.keeper.step()
    assert desk.cluster.steps == []


async def test_a_leader_that_is_to_lose_its_vote_hands_over() -> None:
    desk = Desk()
    world = desk.cluster._world
    leaving = replace(world.state.members[ADA], wish=Wish.LEARNER)
    world.state = replace(world.state, members={**world.state.members, ADA: leaving})
    assert await desk.keeper.step()
    assert desk.cluster.steps == []
