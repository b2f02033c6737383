"""A round of uploads among HSDirs, commits and a clock that misbehave."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from rbcluster.core.apply import apply
from rbcluster.core.codec import decode_command
from rbcluster.core.commands import Applied, RaiseFloor, RecordRound
from rbcluster.core.state import Policy
from rbcluster.errors import DescriptorLimitError
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import read_revision
from rbcluster.hs.revision import RevisionCounter
from rbcluster.tor.descriptor_upload import UploadOutcome, UploadResult
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows, uploads_by_key
from tests.unit.agent.world import ADA, SITE, HsDirs, Sender, World, eventually


class MoodyHsDirs(HsDirs):
    """One HSDir in four fails each time in other words."""

    num_failures = 0

    async def post(
        self, sender: Sender, hsdir: Fingerprint, document: bytes, timeout_s: float
    ) -> UploadResult:
        if hsdir.raw[0] % 4 == 0:
            await asyncio.sleep(1)
            self.num_failures += 1
            return UploadResult(UploadOutcome.NO_ANSWER, f"failure {self.num_failures}")
        return await super().post(sender, hsdir, document, timeout_s)


class FailingHsDirs(HsDirs):
    """None takes anything, each says so after a second."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[int] = []  # revisions
        self.num_answers = 0

    async def post(
        self,
        sender: Sender,  # noqa: ARG002
        hsdir: Fingerprint,  # noqa: ARG002
        document: bytes,
        timeout_s: float,  # noqa: ARG002
    ) -> UploadResult:
        self.posted.append(read_revision(document))
        await asyncio.sleep(1)
        self.num_answers += 1
        return UploadResult(UploadOutcome.NO_ANSWER, "failure")


class BreakingHsDirs(HsDirs):
    """The first post raises; the others of that moment would wait for long."""

    has_raised = False
    num_broken_off = 0

    async def post(
        self, sender: Sender, hsdir: Fingerprint, document: bytes, timeout_s: float
    ) -> UploadResult:
        if asyncio.get_running_loop().time() > 20:
            return await super().post(sender, hsdir, document, timeout_s)
        if not self.has_raised:
            self.has_raised = True
            raise DescriptorLimitError("too long")
        try:
            await asyncio.sleep(timeout_s)
        except asyncio.CancelledError:
            self.num_broken_off += 1
            raise
        return UploadResult(UploadOutcome.NO_ANSWER, "silence")


class LosesRecords:
    """Says which commands get lost: the first four that record a round."""

    num_lost = 0

    def __call__(self, command: bytes) -> bool:
        is_lost = isinstance(decode_command(command), RecordRound) and self.num_lost < 4
        self.num_lost += is_lost
        return is_lost


def test_failing_hsdir_does_not_put_off_the_renewal_at_the_others() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs = hsdirs = MoodyHsDirs()
        await asyncio.sleep(5 * 60)
        assert hsdirs.num_failures > 4

    policy = Policy(refresh_min_ms=120_000, refresh_max_ms=240_000)
    for revisions in uploads_by_key(in_world(scenario, lambda: World(policy))).values():
        assert len(revisions) >= 2


def test_record_that_got_lost_is_made_again_without_another_round() -> None:
    losing = LosesRecords()

    async def scenario(world: World) -> None:
        world.loses = losing
        await eventually(shows(world, *EVERY_POINT), limit_s=20)

    world = in_world(scenario)
    assert losing.num_lost == 4
    assert {len(revisions) for revisions in uploads_by_key(world).values()} == {1}


def test_record_that_got_lost_is_made_again_while_an_hsdir_is_down() -> None:
    """Else nobody would know when to renew what the others hold."""

    async def scenario(world: World) -> None:
        world.loses = LosesRecords()
        world.hsdirs.down = {hsdir.fingerprint for hsdir in world.consensus.hsdirs[::4]}
        await asyncio.sleep(50)
        for publication in world.state.publications.values():
            assert publication.refresh_at is not None
            assert publication.reservation is not None
            assert publication.accepted == {*publication.reservation.hsdirs} - world.hsdirs.down

    in_world(scenario)


def test_tor_that_comes_back_is_not_kept_waiting_for_the_back_off_of_its_absence() -> None:
    async def scenario(world: World) -> None:
        well = world.tors[ADA].status
        world.keeps_leader = True
        world.tors[ADA].status = replace(well, faults=("it restarts",))
        await asyncio.sleep(40)  # attempts at 0, 2, 6, 14 and 30 s, and then not before 62 s
        assert world.hsdirs.uploads == []
        world.tors[ADA].status = well
        await eventually(shows(world, *EVERY_POINT), limit_s=3)

    in_world(scenario)


def test_round_that_fails_breaks_its_other_uploads_off_and_the_next_one_repairs_it() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs = hsdirs = BreakingHsDirs()
        await eventually(lambda: hsdirs.num_broken_off == 7, limit_s=10)
        await eventually(shows(world, *EVERY_POINT), limit_s=120)

    in_world(scenario)


def test_round_stops_at_once_when_the_clock_is_no_longer_trusted() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs = hsdirs = FailingHsDirs()
        await eventually(lambda: hsdirs.num_answers == 16, limit_s=10)
        await asyncio.sleep(0.5)  # it is recorded; they are tried again 2 s after the failure
        world.set_clocks(timedelta(hours=-2))
        await asyncio.sleep(60)
        assert len(hsdirs.posted) == 16

    in_world(scenario)


def test_round_stops_at_once_when_the_floor_has_risen_above_it() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs = hsdirs = FailingHsDirs()
        await eventually(lambda: hsdirs.num_answers == 16, limit_s=10)
        await asyncio.sleep(0.5)
        over = set(hsdirs.posted)
        assert world.state.office is not None
        for publication in world.publications(SITE):
            world.state, verdict = apply(
                world.state,
                RaiseFloor(
                    service=SITE,
                    period=publication.period,
                    floor=RevisionCounter(publication.floor + 1),
                    office_node=ADA,
                    office_term=world.state.office.term,
                    at=world.clocks[ADA].wall_ms(),
                ),
            )
            assert verdict == Applied()
        await asyncio.sleep(60)
        later = hsdirs.posted[16:]
        assert later
        assert not over.intersection(later)

    in_world(scenario)


def test_node_whose_clock_is_wrong_publishes_nothing_though_it_leads() -> None:
    async def scenario(world: World) -> None:
        world.set_clocks(timedelta(hours=-2))  # before the consensus became valid
        await asyncio.sleep(60)
        assert world.hsdirs.uploads == []
        world.set_clocks(timedelta(hours=2))
        await eventually(shows(world, *EVERY_POINT), limit_s=20)

    in_world(scenario)
