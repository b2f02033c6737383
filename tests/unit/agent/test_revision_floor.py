"""What HSDirs hold already: asked where it can be, stepped over where not, given up at last."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from rbcluster.agent.revision_floor import ASKED_BEFORE_FIRST, MAX_STEPS, FloorFinder
from rbcluster.core.apply import MAX_FLOOR
from rbcluster.core.commands import ReportIntroPoints, SeedCluster, TakeOffice
from rbcluster.core.ids import Term, UnixMs
from rbcluster.core.plan import WantedDescriptor, derive_slot_rings, plan
from rbcluster.core.state import Member, Policy
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key, derive_blinded_keypair
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.params import MAX_REVISION
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.descriptor_fetch import FetchOutcome, FetchResult
from rbcluster.tor.descriptor_upload import UploadResult
from tests.shared.builders import after
from tests.shared.virtual_time import run_virtually
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows
from tests.unit.agent.world import (
    ADA,
    BOB,
    MASTER,
    SITE,
    START,
    TIMES,
    HsDirs,
    ModelCluster,
    ModelTor,
    Sender,
    World,
    eventually,
    point,
)

NOW = TimePeriod.containing(START, TIMES)


class CountingHsDirs(HsDirs):
    """Counts every post."""

    num_posts = 0

    async def post(
        self, sender: Sender, hsdir: Fingerprint, document: bytes, timeout_s: float
    ) -> UploadResult:
        self.num_posts += 1
        return await super().post(sender, hsdir, document, timeout_s)


BLINDED = derive_blinded_key(SITE.identity, NOW)


def held_document(revision: int, period: TimePeriod = NOW) -> bytes:
    content = DescriptorContent(
        identity=SITE.identity,
        period=period,
        keypair=derive_blinded_keypair(MASTER, period),
        revision=RevisionCounter(revision),
        points=(point(99),),
        traits=ServiceTraits(),
    )
    return build_descriptor(content, START, bytes)


def hold_everywhere(world: World, revision: int) -> None:
    document = held_document(revision)
    blinded = derive_blinded_key(SITE.identity, NOW)
    for hsdir in world.consensus.hsdirs:
        world.hsdirs.held[hsdir.fingerprint, blinded] = revision, document


def test_hopeless_descriptor_is_said_to_be_so_and_tried_seldom_until_it_is_accepted() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs = hsdirs = CountingHsDirs()
        hold_everywhere(world, MAX_REVISION)
        (ada, *_) = world.nodes.values()
        await eventually(lambda: ada.floors.exhausted == ((SITE, NOW.number),), limit_s=60)
        before = hsdirs.num_posts
        await asyncio.sleep(9 * 60)
        assert hsdirs.num_posts - before <= 8  # the other descriptor's, at most
        for hsdir in world.consensus.hsdirs:
            del hsdirs.held[hsdir.fingerprint, BLINDED]
        await eventually(shows(world, *EVERY_POINT), limit_s=5 * 60)
        assert ada.floors.exhausted == ()

    in_world(scenario)


class ScriptedTor(ModelTor):
    """Answers fetches as the test says, by the HSDir's place in the list; else with nothing."""

    def __init__(self, world: World, answers: Mapping[Fingerprint, FetchResult]) -> None:
        super().__init__(world, ADA)
        self.asked: list[Fingerprint] = []
        self.answers = answers

    async def fetch(
        self,
        address: OnionAddress,
        hsdir: Fingerprint,
        timeout_s: float,
    ) -> FetchResult:
        assert (address, timeout_s > 0) == (SITE, True)
        self.asked.append(hsdir)
        return self.answers.get(hsdir, FetchResult(FetchOutcome.NOT_FOUND, "none"))


async def _make_world() -> World:
    world = World()  # asks its clocks, which are the loop's
    world.elect(ADA)
    return world


class Finding:
    """A floor finder in office, and the two descriptors it may be asked about."""

    def __init__(self, *answers: FetchResult) -> None:
        self.world = run_virtually(_make_world())
        seed = SeedCluster(
            name="world",
            members=(Member(node=ADA, address="ada:1"),),
            services={SITE: "site"},
            policy=Policy(),
        )
        report = ReportIntroPoints(
            node=ADA,
            service=SITE,
            origin=SITE,
            points=(point(1),),
            traits=ServiceTraits(),
            descriptor=b"signed",
            reported_at=UnixMs(0),
        )
        self.world.state = after([seed, TakeOffice(node=ADA, term=Term(1)), report])
        both = plan(self.world.state, derive_slot_rings(self.world.consensus))
        (self.in_force,) = (w for w in both if w.slot_time.period == NOW)
        (self.other,) = (w for w in both if w.slot_time.period != NOW)
        self.tor = ScriptedTor(self.world, dict(zip(self.in_force.hsdirs, answers, strict=False)))
        cluster = ModelCluster(self.world, ADA)
        self.floors = FloorFinder(ADA, cluster, self.tor, self.world.clocks[ADA])

    def ask(self, wanted: WantedDescriptor | None = None) -> int | None:
        """What is held elsewhere, asked before the first round."""
        return run_virtually(self.floors.held_elsewhere(wanted or self.in_force))

    def rise(self, wanted: WantedDescriptor) -> int | None:
        """Raise the floor above what an HSDir refused; the floor afterwards, None if hopeless."""

        async def play() -> int | None:
            command = await self.floors.above(wanted, wanted.hsdirs[:1])
            if command is None:
                return None
            self.world.state = after([command], self.world.state)
            return self.world.state.publications[wanted.key].floor

        return run_virtually(play())


def found(revision: int, period: TimePeriod = NOW) -> FetchResult:
    return FetchResult(FetchOutcome.FOUND, "", held_document(revision, period))


SILENT = FetchResult(FetchOutcome.NO_ANSWER, "silence")


def test_first_publication_asks_a_few_hsdirs_and_takes_the_highest_revision() -> None:
    finding = Finding(found(5), SILENT, found(9), found(100))
    assert finding.ask() == 9
    assert finding.tor.asked == list(finding.in_force.hsdirs[:ASKED_BEFORE_FIRST])


def test_address_that_nobody_published_holds_nothing() -> None:
    assert Finding().ask() is None


def test_descriptor_of_the_other_slot_cannot_be_fetched_and_is_not_asked_for() -> None:
    finding = Finding(found(5))
    assert finding.ask(finding.other) is None
    assert finding.tor.asked == []


def test_without_a_consensus_nothing_is_known() -> None:
    finding = Finding(found(5))
    finding.tor.status = replace(finding.tor.status, connected=False)
    assert finding.ask() is None


def test_descriptors_of_another_period_or_none_at_all_are_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = FetchResult(FetchOutcome.FOUND, "", held_document(100)[:-20])
    assert Finding(found(99, NOW.next()), broken, found(7)).ask() == 7
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "an HSDir served a descriptor that does not hold" in caplog.text


def test_floor_rises_to_the_revision_that_was_found() -> None:
    finding = Finding(found(70_000))
    assert finding.rise(finding.in_force) == 70_000


def test_revision_not_above_the_floor_explains_nothing_and_the_floor_takes_a_step() -> None:
    finding = Finding(found(70_000))
    assert [finding.rise(finding.in_force) for _ in range(2)] == [70_000, 70_000 + 2**16]


def test_blind_steps_double_and_end_after_sixteen(caplog: pytest.LogCaptureFixture) -> None:
    finding = Finding()
    floors = [0] + [finding.rise(finding.other) or 0 for _ in range(MAX_STEPS)]
    steps = [higher - lower for lower, higher in itertools.pairwise(floors)]
    assert steps == [2**power for power in range(16, 32)]
    assert not finding.floors.exhausted
    assert finding.rise(finding.other) is None
    assert finding.floors.exhausted == (finding.other.key,)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert str(SITE) not in record.message


def test_each_descriptor_counts_its_own_steps() -> None:
    finding = Finding()
    assert [finding.rise(w) for w in (finding.other, finding.in_force)] == [2**16, 2**16]


def test_acceptance_ends_the_count_and_the_complaint() -> None:
    finding = Finding()
    while finding.rise(finding.other) is not None:
        pass
    before = finding.world.state.publications[finding.other.key].floor
    finding.floors.forget(finding.other.key)
    assert finding.floors.exhausted == ()
    assert finding.rise(finding.other) == before + 2**16


def test_revision_that_no_floor_may_reach_is_hopeless_at_once() -> None:
    finding = Finding(found(70_000))
    assert finding.rise(finding.in_force) == 70_000
    finding.tor.answers = {finding.in_force.hsdirs[0]: found(MAX_FLOOR + 1)}
    assert finding.rise(finding.in_force) is None
    assert finding.floors.exhausted == (finding.in_force.key,)


def test_hopeless_descriptor_is_no_longer_said_to_be_so_when_another_leader_got_it_through() -> (
    None
):
    async def scenario(world: World) -> None:
        hold_everywhere(world, MAX_REVISION)
        (ada, *_) = world.nodes.values()
        await eventually(lambda: bool(ada.floors.exhausted), limit_s=60)
        for hsdir in world.consensus.hsdirs:
            del world.hsdirs.held[hsdir.fingerprint, BLINDED]
        world.elect(BOB)
        await eventually(shows(world, *EVERY_POINT), limit_s=60)
        assert ada.floors.exhausted == ()

    in_world(scenario)
