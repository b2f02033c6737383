"""Points come and go, leaders die, HSDirs misbehave: what is on the HSDirs is what should be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta

import pytest

from rbcluster.core.codec import decode_command
from rbcluster.core.commands import RecordRound
from rbcluster.core.state import Presence
from rbcluster.hs.blinding import derive_blinded_key, derive_blinded_keypair
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.settings import TorStatus
from tests.unit.agent.scenes import EVERY_POINT, in_world, office_holder, shows, uploads_by_key
from tests.unit.agent.world import (
    ADA,
    BOB,
    CYD,
    MASTER,
    SITE,
    START,
    TIMES,
    World,
    consensus,
    eventually,
    point,
)


def test_points_of_all_nodes_reach_every_responsible_hsdir_of_both_descriptors() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)

    world = in_world(scenario)
    for publication in world.state.publications.values():
        assert publication.reservation is not None
        assert len(publication.reservation.hsdirs) == 8


def test_one_round_is_one_revision_for_all_hsdirs() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)

    world = in_world(scenario)
    revisions = defaultdict(set)
    for upload in world.hsdirs.uploads:
        revisions[upload.blinded].add(upload.revision)
    assert [len(found) for found in revisions.values()] == [1, 1]


def test_leader_dies_and_its_points_leave_every_hsdir() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.kill(ADA)
        world.elect(BOB)
        await eventually(shows(world, 11, 12, 13, 21, 22, 23), limit_s=10)

    world = in_world(scenario)
    assert world.state.members[ADA].presence is Presence.WITHDRAWN
    assert (SITE, ADA) not in world.state.pool  # stale points must not come back with the node


def test_revisions_only_rise_at_every_hsdir_across_a_change_of_leader() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.kill(ADA)
        world.elect(BOB)
        await eventually(shows(world, 11, 12, 13, 21, 22, 23), limit_s=10)
        world.elect(CYD)
        world.hold(BOB, 14, 15)
        await eventually(shows(world, 14, 15, 21, 22, 23), limit_s=30)

    for revisions in uploads_by_key(in_world(scenario)).values():
        assert revisions == sorted(set(revisions))


def test_new_leader_finishes_what_the_dead_one_left_unfinished() -> None:
    async def scenario(world: World) -> None:
        await eventually(lambda: len(world.hsdirs.uploads) >= 2, limit_s=10)
        world.kill(ADA)
        world.elect(BOB)
        await eventually(shows(world, 11, 12, 13, 21, 22, 23), limit_s=20)

    in_world(scenario)


def test_deposed_leader_uploads_nothing_more() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.elect(BOB)
        await eventually(
            lambda: world.state.office is not None and world.state.office.node == BOB, 5
        )
        before = len(world.hsdirs.uploads)
        world.hold(CYD, 21, 22)
        await eventually(shows(world, 1, 2, 3, 11, 12, 13, 21, 22), limit_s=10)
        assert {upload.node for upload in world.hsdirs.uploads[before:]} == {BOB}

    in_world(scenario)


def test_deposed_leader_does_not_go_on_proposing_what_became_of_its_rounds() -> None:
    late: list[RecordRound] = []

    def is_late(data: bytes) -> bool:
        command = decode_command(data)
        if isinstance(command, RecordRound) and command.office_node == ADA:
            late.append(command)
        return False

    async def scenario(world: World) -> None:
        world.hsdirs.silent = {hsdir.fingerprint for hsdir in world.consensus.hsdirs[::2]}
        await eventually(lambda: bool(world.hsdirs.uploads), limit_s=10)
        world.elect(BOB)
        await eventually(lambda: office_holder(world) == BOB, limit_s=5)
        world.loses = is_late
        await asyncio.sleep(60)

    in_world(scenario)
    assert late == []


def test_leader_cut_off_from_the_majority_publishes_nothing() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.alive.discard(ADA)  # it still believes that it leads, but nothing commits
        before = len(world.hsdirs.uploads)
        world.hold(ADA, 1)
        await asyncio.sleep(120)
        assert len(world.hsdirs.uploads) == before

    in_world(scenario)


def test_withdrawn_point_leaves_at_once_and_an_added_one_waits_for_others() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.hold(BOB, 11, 12)
        await eventually(shows(world, *(EVERY_POINT - {13})), limit_s=0.9)
        world.hold(BOB, 11, 12, 14)
        await asyncio.sleep(0.5)
        world.hold(CYD, 21, 22, 23, 24)
        before = len({upload.revision for upload in world.hsdirs.uploads})
        await eventually(shows(world, *(EVERY_POINT - {13} | {14, 24})), limit_s=2)
        after = len({upload.revision for upload in world.hsdirs.uploads})
        assert after - before == 2  # one for each descriptor: both additions went out together

    in_world(scenario)


def test_node_without_circuits_is_withdrawn_and_regains_its_place() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.hold(CYD)
        await eventually(shows(world, 1, 2, 3, 11, 12, 13), limit_s=1)
        world.hold(CYD, 21, 22, 23)
        await eventually(shows(world, *EVERY_POINT), limit_s=5)

    in_world(scenario)


def test_restart_of_an_agent_changes_nothing_outside() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        before = len(world.hsdirs.uploads)
        world.tors[CYD].local.clear()  # not known yet
        world.tors[CYD].status = TorStatus()
        world.nodes[CYD].ring()
        await asyncio.sleep(1.5)
        world.tors[CYD].status = TorStatus(connected=True)
        world.hold(CYD, 21, 22, 23)
        await asyncio.sleep(20)
        assert len(world.hsdirs.uploads) == before

    in_world(scenario)


def test_node_whose_tor_stays_away_loses_its_place() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.tors[CYD].local.clear()
        world.tors[CYD].status = TorStatus()
        world.nodes[CYD].ring()
        await eventually(shows(world, 1, 2, 3, 11, 12, 13), limit_s=5)

    in_world(scenario)


def test_hsdir_that_never_answers_is_sent_the_same_revision_until_it_refuses() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs.silent = {hsdir.fingerprint for hsdir in world.consensus.hsdirs}
        await eventually(shows(world, *EVERY_POINT), limit_s=90)

    world = in_world(scenario)
    for revisions in uploads_by_key(world).values():
        assert len(revisions) == 1


def test_long_and_odd_words_of_an_hsdir_are_recorded_in_short() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs.down = {hsdir.fingerprint for hsdir in world.consensus.hsdirs[::4]}
        world.hsdirs.complaint = "\x1b[31m" + "silence " * 40
        await eventually(
            lambda: any(p.refused for p in world.state.publications.values()), limit_s=60
        )

    in_world(scenario)


def test_dead_hsdir_is_recorded_and_tried_again() -> None:
    async def scenario(world: World) -> None:
        world.hsdirs.down = {hsdir.fingerprint for hsdir in world.consensus.hsdirs[::4]}
        await eventually(
            lambda: (
                {hsdir for p in world.state.publications.values() for hsdir in p.refused}
                == world.hsdirs.down & world.responsible()
                != set()
            ),
            limit_s=60,
        )
        world.hsdirs.down.clear()
        await eventually(shows(world, *EVERY_POINT), limit_s=90)

    in_world(scenario)


@pytest.mark.parametrize("held", [2**33, 2**40])
def test_address_published_by_something_else_before_is_taken_over(held: int) -> None:
    """The revision held is fetched for the period in force, stepped over for the other."""

    async def scenario(world: World) -> None:
        now = TimePeriod.containing(START, TIMES)
        for period, revision in ((now, held), (now.previous(), 2**33)):
            keypair = derive_blinded_keypair(MASTER, period)
            document = build_descriptor(
                DescriptorContent(
                    identity=SITE.identity,
                    period=period,
                    keypair=keypair,
                    revision=RevisionCounter(revision),
                    points=(point(99),),
                    traits=ServiceTraits(),
                ),
                START,
                bytes,
            )
            blinded = derive_blinded_key(SITE.identity, period)
            for hsdir in world.consensus.hsdirs:
                world.hsdirs.held[hsdir.fingerprint, blinded] = revision, document
        await eventually(shows(world, *EVERY_POINT), limit_s=300)

    in_world(scenario)


def test_descriptor_is_renewed_before_it_ages() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        before = len(world.hsdirs.uploads)
        world.set_clocks(timedelta(minutes=58))  # what lies between are 20,000 heartbeats
        await asyncio.sleep(60)
        assert len(world.hsdirs.uploads) == before
        world.set_clocks(timedelta(minutes=60))
        await asyncio.sleep(60)
        assert all(len(found) == 2 for found in uploads_by_key(world).values())

    in_world(scenario)


def test_turn_of_the_time_period_publishes_the_period_to_come() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        later = START.replace(minute=0) + timedelta(hours=21)  # past 12:00 UTC of the next day
        world.set_clocks(timedelta(hours=21))
        world.consensus = consensus(valid_after=later)
        world.ring()
        newest = TimePeriod.containing(later, TIMES)
        await eventually(
            lambda: (
                (SITE, newest.number) in world.state.publications
                and world.state.publications[SITE, newest.number].accepted != frozenset()
            ),
            limit_s=10,
        )

    in_world(scenario)


def test_changed_hsdirs_get_the_descriptor() -> None:
    newcomer = Fingerprint(bytes([77]) * 20)

    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        gone = min(world.responsible())
        hsdirs = tuple(
            replace(hsdir, fingerprint=newcomer) if hsdir.fingerprint == gone else hsdir
            for hsdir in world.consensus.hsdirs
        )
        world.consensus = replace(world.consensus, hsdirs=tuple(sorted(hsdirs)))
        world.ring()
        await eventually(
            lambda: any(newcomer in p.accepted for p in world.state.publications.values()),
            limit_s=10,
        )

    in_world(scenario)


def test_flapping_node_does_not_exceed_the_upload_budget() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        before = len({upload.revision for upload in world.hsdirs.uploads})
        for _ in range(60):
            world.hold(CYD)
            await asyncio.sleep(1)
            world.hold(CYD, 21, 22, 23)
            await asyncio.sleep(1)
        rounds = len({upload.revision for upload in world.hsdirs.uploads}) - before
        assert rounds <= 2 * (5 + 120 / 10 + 1)

    in_world(scenario)
