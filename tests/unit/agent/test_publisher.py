"""Which rounds go on, and since when a descriptor counts as changed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from rbcluster.core.ids import NodeId
from rbcluster.core.state import Policy
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import read_blinded_key
from rbcluster.hs.keys import BlindedKey
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.descriptor_upload import UploadResult
from tests.unit.agent.scenes import EVERY_POINT, in_world, shows
from tests.unit.agent.world import (
    ADA,
    BOB,
    CYD,
    FULL_HOUR,
    SITE,
    TIMES,
    HsDirs,
    Sender,
    World,
    consensus,
    eventually,
)


class CountingHsDirs(HsDirs):
    """Counts every post, by blinded key."""

    def count(self) -> Counter[BlindedKey]:
        self.posts: Counter[BlindedKey] = Counter()
        return self.posts

    async def post(
        self, sender: Sender, hsdir: Fingerprint, document: bytes, timeout_s: float
    ) -> UploadResult:
        self.posts[read_blinded_key(document)] += 1
        return await super().post(sender, hsdir, document, timeout_s)


def test_round_of_a_period_that_is_over_is_not_carried_on() -> None:
    """A dead HSDir of it would be asked once a minute for days."""
    later = FULL_HOUR + timedelta(hours=21)  # past the turn of the period, and past the next SRV

    async def scenario(world: World) -> None:
        world.hsdirs = hsdirs = CountingHsDirs()
        posts = hsdirs.count()
        hsdirs.down = {hsdir.fingerprint for hsdir in world.consensus.hsdirs}
        over = derive_blinded_key(SITE.identity, TimePeriod.containing(FULL_HOUR, TIMES).previous())
        await eventually(lambda: posts[over] == 8, limit_s=10)
        world.set_clocks(timedelta(hours=21))
        world.consensus = consensus(valid_after=later)
        world.ring()
        await asyncio.sleep(40)  # what was in flight is waited for
        posts = hsdirs.count()
        await asyncio.sleep(300)
        assert posts[over] == 0
        assert posts.total() > 0

    in_world(scenario)


def test_hsdirs_that_left_do_not_count_as_a_change_that_has_settled() -> None:
    async def scenario(world: World) -> None:
        world.consensus = consensus(num_hsdirs=6)  # each descriptor goes to all of them
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.consensus = replace(world.consensus, hsdirs=world.consensus.hsdirs[:5])
        world.ring()
        await asyncio.sleep(60)
        before = len({upload.revision for upload in world.hsdirs.uploads})
        world.hold(NodeId("bob"), 11, 12, 13, 14)
        await asyncio.sleep(2)
        world.hold(NodeId("cyd"), 21, 22, 23, 24)
        await asyncio.sleep(10)
        assert len({upload.revision for upload in world.hsdirs.uploads}) - before == 2

    in_world(scenario, lambda: World(Policy(settle_ms=3_000)))


def test_what_a_node_saw_change_in_an_earlier_office_has_not_settled_in_this_one() -> None:
    async def scenario(world: World) -> None:
        await eventually(shows(world, *EVERY_POINT), limit_s=10)
        world.hold(BOB, 11, 12, 13, 14)
        await asyncio.sleep(1)
        world.elect(CYD)
        await asyncio.sleep(60)
        before = len({upload.revision for upload in world.hsdirs.uploads})
        world.elect(ADA)
        world.hold(BOB, 11, 12, 13, 14, 15)
        await asyncio.sleep(2)
        world.hold(CYD, 21, 22, 23, 24)
        await asyncio.sleep(10)
        assert len({upload.revision for upload in world.hsdirs.uploads}) - before == 2

    in_world(scenario, lambda: World(Policy(settle_ms=3_000)))
