"""What a node says of its points, and while it knows little itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import pytest

from rbcluster.agent.reporter import RECONNECT_GRACE_S, START_GRACE_S, Reporter
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.apply import apply
from rbcluster.core.codec import decode_command
from rbcluster.core.commands import Applied, Refused, ReportIntroPoints, SeedCluster, Verdict
from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState, Member, Policy
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.tor.intro_source import LocalIntroPoints
from tests.shared.virtual_time import run_virtually
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows
from tests.unit.agent.world import (
    ADA,
    BLOG,
    CYD,
    SITE,
    SITE_ALONE,
    SITE_AND_BLOG,
    ModelCluster,
    ModelTor,
    World,
    eventually,
    local_points,
)


class LateCluster(ModelCluster):
    """A cluster whose log is applied only three seconds after a start; remembers proposals."""

    def __init__(self, world: World) -> None:
        super().__init__(world, CYD)
        self._known_at = asyncio.get_running_loop().time() + 3
        self.proposals: list[bytes] = []

    @property
    def state(self) -> ClusterState:
        is_known = asyncio.get_running_loop().time() >= self._known_at
        return super().state if is_known else ClusterState()

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        self.proposals.append(command)
        return await super().propose(command, timeout_s)


def test_restarted_node_has_ten_seconds_to_find_its_tor_again_though_the_log_comes_late() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        cluster, tor = LateCluster(world), ModelTor(world, CYD)  # not known: no points yet
        reporter = Reporter(CYD, cluster, tor, world.clocks[CYD], Wakeup())
        running = asyncio.create_task(reporter.run())
        await asyncio.sleep(9)
        assert cluster.proposals == []
        tor.local = world.tors[CYD].local
        await asyncio.sleep(9)
        assert cluster.proposals == []
        running.cancel()

    in_world(scenario)


class Alone:
    """A world in which nothing runs but one node's reporter, and nothing else is proposed."""

    def __init__(self, *members: NodeId, services: Mapping[OnionAddress, str] = SITE_ALONE) -> None:
        self.world = World()
        self.world.elect(ADA)
        seed = SeedCluster(
            name="world",
            members=tuple(Member(node=node, address=f"{node}:1") for node in members),
            services=services,
            policy=Policy(),
        )
        self.world.state, verdict = apply(self.world.state, seed)
        assert verdict == Applied()
        self.cluster: ModelCluster = ModelCluster(self.world, CYD)
        self.tor = ModelTor(self.world, CYD)
        self.bell = Wakeup()

    @property
    def num_commits(self) -> int:
        return self.world.index

    def start(self) -> asyncio.Task[None]:
        clock = self.world.clocks[CYD]
        return asyncio.create_task(Reporter(CYD, self.cluster, self.tor, clock, self.bell).run())

    def hold(self, local: LocalIntroPoints | None, service: OnionAddress = SITE) -> None:
        """Give its tor these points (None: not known), and ring."""
        if local is None:
            self.tor.local.pop(service, None)
        else:
            self.tor.local[service] = local
        self.bell.ring()

    def has_place(self, service: OnionAddress = SITE) -> bool:
        return (service, CYD) in self.world.state.pool


def run_alone(
    scenario: Callable[[Alone], Awaitable[None]],
    members: tuple[NodeId, ...] = (ADA, CYD),
    services: Mapping[OnionAddress, str] = SITE_ALONE,
) -> Alone:
    """Play a scenario around one running reporter."""

    async def play() -> Alone:
        alone = Alone(*members, services=services)
        running = alone.start()
        try:
            await scenario(alone)
            assert not running.done()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        return alone

    return run_virtually(play())


def test_points_are_reported_once_and_only_when_they_change() -> None:
    async def scenario(alone: Alone) -> None:
        alone.hold(local_points(1, 2))
        await eventually(alone.has_place, limit_s=1)
        before = alone.num_commits
        await asyncio.sleep(3_600)
        assert alone.num_commits == before
        alone.hold(local_points(2, 1))  # another order is no other set
        await asyncio.sleep(60)
        assert alone.num_commits == before
        alone.hold(local_points(2, 3))
        await asyncio.sleep(1)
        assert alone.num_commits == before + 1

    run_alone(scenario)


def test_changed_traits_alone_are_reported() -> None:
    async def scenario(alone: Alone) -> None:
        alone.hold(local_points(1))
        await eventually(alone.has_place, limit_s=1)
        single_hop = ServiceTraits(single_onion_service=True)
        alone.hold(replace(local_points(1), traits=single_hop))
        await eventually(lambda: alone.world.state.pool[SITE, CYD].traits == single_hop, limit_s=1)

    run_alone(scenario)


def test_points_that_are_surely_gone_lose_their_place_at_once() -> None:
    async def scenario(alone: Alone) -> None:
        alone.hold(local_points(1))
        await eventually(alone.has_place, limit_s=1)
        alone.hold(LocalIntroPoints.none())
        await eventually(lambda: not alone.has_place(), limit_s=0.1)

    run_alone(scenario)


@pytest.mark.parametrize("away_s", [RECONNECT_GRACE_S - 0.5, RECONNECT_GRACE_S + 1.5])
def test_tor_that_is_away_keeps_its_place_for_two_seconds(away_s: float) -> None:
    async def scenario(alone: Alone) -> None:
        alone.hold(local_points(1))
        await eventually(alone.has_place, limit_s=1)
        await asyncio.sleep(50)  # a quiet time: the reporter has not looked for long
        alone.hold(None)
        await asyncio.sleep(away_s)
        assert alone.has_place() is (away_s < RECONNECT_GRACE_S)

    run_alone(scenario)


@pytest.mark.parametrize("away_s", [START_GRACE_S - 0.5, START_GRACE_S + 1.5])
def test_tor_that_is_not_found_after_a_restart_keeps_its_place_for_ten_seconds(
    away_s: float,
) -> None:
    async def play() -> None:
        alone = Alone(ADA, CYD)
        first_life = alone.start()
        alone.hold(local_points(1))
        await eventually(alone.has_place, limit_s=1)
        first_life.cancel()
        alone.tor.local.clear()
        second_life = alone.start()
        await asyncio.sleep(away_s)
        second_life.cancel()
        assert alone.has_place() is (away_s < START_GRACE_S)

    run_virtually(play())


def test_node_that_is_no_member_reports_nothing() -> None:
    async def scenario(alone: Alone) -> None:
        before = alone.num_commits
        alone.hold(local_points(1))
        await asyncio.sleep(60)
        assert alone.num_commits == before

    run_alone(scenario, members=(ADA,))


def test_report_that_got_lost_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(alone: Alone) -> None:
        alone.world.leader = None
        alone.hold(local_points(1))
        await asyncio.sleep(600)
        assert not alone.has_place()
        alone.world.leader = ADA
        await eventually(alone.has_place, limit_s=10)

    run_alone(scenario)
    assert [r.levelno for r in caplog.records if "not taken" in r.message] == [logging.WARNING]


class Refusing(ModelCluster):
    """Takes nothing: by some rule at first, then because no leader is known."""

    num_asked = 0
    has_leader = True

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:  # noqa: ARG002
        self.num_asked += 1
        if not self.has_leader:
            return ProposalResult(outcome=Outcome.REFUSED, verdict=None, detail="no leader")
        return ProposalResult(outcome=Outcome.COMMITTED, verdict=Refused("a rule"), detail="")


def test_complaint_that_lasts_is_logged_once_and_a_new_one_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        alone = Alone(ADA, CYD)
        alone.cluster = cluster = Refusing(alone.world, CYD)
        running = alone.start()
        alone.hold(local_points(1))
        await asyncio.sleep(60)
        cluster.has_leader = False
        await asyncio.sleep(60)
        running.cancel()
        assert 80 <= cluster.num_asked <= 130  # tried again each second or two

    run_virtually(play())
    complaints = [r.message.rpartition(": ")[2] for r in caplog.records]
    assert complaints == ["Refused(rule='a rule')", "no leader"]


def test_service_whose_points_are_never_known_costs_another_no_grace() -> None:
    async def scenario(alone: Alone) -> None:
        alone.hold(local_points(1))
        await asyncio.sleep(START_GRACE_S + 50)  # nothing is known of the blog all this time
        assert alone.has_place()
        alone.hold(None)
        await asyncio.sleep(RECONNECT_GRACE_S - 0.5)
        assert alone.has_place()
        await asyncio.sleep(2)
        assert not alone.has_place()

    run_alone(scenario, services=SITE_AND_BLOG)


class RefusingOne(ModelCluster):
    """Takes no report of one service, by some rule."""

    refused = SITE

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        decoded = decode_command(command)
        assert isinstance(decoded, ReportIntroPoints)
        if decoded.service != self.refused:
            return await super().propose(command, timeout_s)
        return ProposalResult(outcome=Outcome.COMMITTED, verdict=Refused("a rule"), detail="")


def test_service_whose_reports_are_refused_holds_up_no_other_and_complains_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        alone = Alone(ADA, CYD, services=SITE_AND_BLOG)
        alone.cluster = RefusingOne(alone.world, CYD)
        running = alone.start()
        alone.hold(local_points(1))
        for _ in range(5):
            alone.hold(local_points(2, origin=BLOG), BLOG)
            await eventually(lambda: alone.has_place(BLOG), limit_s=0.2)
            await asyncio.sleep(1.3)
            alone.hold(LocalIntroPoints.none(), BLOG)
            await eventually(lambda: not alone.has_place(BLOG), limit_s=0.2)
            await asyncio.sleep(1.3)
        running.cancel()

    run_virtually(play())
    assert sum("not taken" in record.message for record in caplog.records) == 1
