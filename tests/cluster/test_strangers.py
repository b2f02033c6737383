from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.limits import MAX_HANDSHAKES_PER_SOURCE
from rbcluster.raft.transport import Mesh
from tests.cluster.strangers import Kind, bother
from tests.shared.local_cluster import (
    LIMIT_S,
    PATIENT,
    LocalCluster,
    commit,
    eventually,
    make_settings,
    running,
)

A = NodeId("a")
NUM_STRANGERS = 100


async def test_a_crowd_of_strangers_costs_no_link_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(tmp_path, "abc", profile=replace(PATIENT, greet_timeout_s=1.5))
    async with running(LocalCluster(settings)) as cluster:
        leader = await cluster.elect(A)
        before, mesh = leader.view, leader._mesh
        assert isinstance(mesh, Mesh)
        most = 0

        def count() -> None:
            nonlocal most
            most = max(most, len(mesh._gate._under_way))
            if sum(leader.num_turned_away.values()) < NUM_STRANGERS:
                asyncio.get_running_loop().call_later(0.001, count)

        count()
        crowd = [bother(settings[A].listen, kind) for kind in islice(cycle(Kind), NUM_STRANGERS)]
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*crowd)
        await eventually(
            lambda: sum(leader.num_turned_away.values()) == NUM_STRANGERS, "all are counted"
        )
        assert 0 < most <= MAX_HANDSHAKES_PER_SOURCE
        assert (leader.view.term, leader.view.connected) == (before.term, before.connected)
        assert (await commit(leader, b"one")).verdict == 1
    lines = [r for r in caplog.records if "a connection from" in r.getMessage()]
    assert len([r for r in lines if r.levelname == "WARNING"]) == 1


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Kind.HALF_OPEN, TurnedAway.SILENT),
        (Kind.GARBAGE, TurnedAway.TLS),
        (Kind.HUGE, TurnedAway.TLS),
        (Kind.SLOW, TurnedAway.SILENT),
        (Kind.NAMELESS, TurnedAway.TLS),
    ],
)
async def test_each_stranger_is_cut_off_for_a_reason(
    tmp_path: Path, kind: Kind, why: TurnedAway
) -> None:
    settings = make_settings(tmp_path, "a", profile=replace(PATIENT, greet_timeout_s=0.3))
    async with running(LocalCluster(settings)) as cluster:
        async with asyncio.timeout(LIMIT_S):
            await bother(settings[A].listen, kind)
        engine = cluster.engines[A]
        await eventually(lambda: sum(engine.num_turned_away.values()) == 1, "it is counted")
        assert engine.num_turned_away[why] == 1
