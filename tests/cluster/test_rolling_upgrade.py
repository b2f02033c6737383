"""A cluster goes over to a made next release, node by node, while it works."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rbcluster import daemon
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, RaiseSchema, TakeOffice
from rbcluster.core.ids import NodeId
from rbcluster.errors import SchemaError
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.machine import StateMachine
from rbcluster.raft.proposal import Outcome
from tests.shared.builders import SEED, report
from tests.shared.local_cluster import (
    LIMIT_S,
    PATIENT,
    LocalCluster,
    eventually,
    make_settings,
    running,
)
from tests.shared.schema_two import MACHINE_TWO, encode_motto

A, B, C = (NodeId(name) for name in "abc")
ONE = daemon.STATE_MACHINE
REMEDY = "gone over to schema 2, and this rbcluster knows none newer than 1: upgrade rbcluster"


async def commit(engine: RaftEngine[Any, Any], command: bytes) -> None:
    result = await engine.propose(command, LIMIT_S)
    assert (result.outcome, result.verdict) == (Outcome.COMMITTED, Applied())


async def upgrade(cluster: LocalCluster, node: NodeId) -> None:
    await cluster.stop(node)
    cluster.machines[node] = MACHINE_TWO
    await cluster.start(node)


async def agree(cluster: LocalCluster) -> None:
    """Wait until the nodes hold the same bytes, whatever their releases."""

    def states() -> set[bytes]:
        return {cluster.machines[n].encode(e.state) for n, e in cluster.engines.items()}

    def indices() -> set[int]:
        return {engine.view.last_applied for engine in cluster.engines.values()}

    await eventually(lambda: len(indices()) == len(states()) == 1, "all have one state")


async def test_cluster_is_upgraded_node_by_node_and_an_old_one_then_stops_with_the_remedy(
    tmp_path: Path,
) -> None:
    profile = replace(PATIENT, compact_entries=4)
    cluster = LocalCluster(make_settings(tmp_path, "abc", profile=profile))
    cluster.machines = dict.fromkeys((A, B, C), ONE)
    async with running(cluster):
        leader = await cluster.elect(A)
        await commit(leader, encode_command(SEED))
        for node in (B, C):
            await upgrade(cluster, node)
            await commit(leader, encode_command(report(SEED.members[0].node)))
            await agree(cluster)
        await cluster.stop(A)
        leader = await cluster.elect(B)
        term = leader.view.term
        await commit(leader, encode_command(TakeOffice(node=SEED.members[0].node, term=term)))
        to_two = RaiseSchema(version=2, office_node=SEED.members[0].node, office_term=term)
        await commit(leader, encode_command(to_two))
        await commit(leader, encode_motto("onward"))
        await agree(cluster)

        old_one = await cluster.start(A)  # nobody thought of it
        await eventually(lambda: old_one.failure is not None, "it stops")
        assert isinstance(old_one.failure, SchemaError)
        assert REMEDY in str(old_one.failure)
        assert "onward" not in str(old_one.state)
        await upgrade(cluster, A)
        await agree(cluster)
        assert cluster.engines[A].state.motto == "onward"  # type: ignore[attr-defined]


async def test_old_release_stops_at_a_newer_snapshot_instead_of_waiting_for_another(
    tmp_path: Path,
) -> None:
    profile = replace(PATIENT, compact_entries=4)
    cluster = LocalCluster(make_settings(tmp_path, "abc", profile=profile))
    old_release: StateMachine[Any, Any] = ONE
    cluster.machines = {A: MACHINE_TWO, B: MACHINE_TWO, C: old_release}
    async with running(cluster):
        leader = await cluster.elect(A)
        await cluster.stop(C)
        office = SEED.members[0].node
        term = leader.view.term
        await commit(leader, encode_command(SEED))
        await commit(leader, encode_command(TakeOffice(node=office, term=term)))
        await commit(
            leader, encode_command(RaiseSchema(version=2, office_node=office, office_term=term))
        )
        for number in range(8):
            await commit(leader, encode_motto(str(number)))
        assert (cluster.settings[A].data_dir / "snapshot").exists()
        shutil.rmtree(cluster.settings[C].data_dir)
        engine = await cluster.start(C)
        await eventually(lambda: engine.failure is not None, "it stops")
        with pytest.raises(SchemaError, match=REMEDY):
            raise engine.failure or AssertionError
