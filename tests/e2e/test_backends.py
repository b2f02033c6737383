"""A tor without rbcluster answers for the cluster's address, until it is dead for too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.agent.status_document import StatusDocument
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.plain_service import PlainService
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.webpage import WebPage

_LIMIT_S = 120.0
_STALE_LIMIT_S = 240.0  # once more after a turn of the period: its other descriptor is found then
_NUM_VISITS = 30
_STALE_AFTER_MIN = 1.5  # its tor publishes nothing by itself in so short a time: dead or not
_SEED = bytes([42]) * 32


def _num_points(document: StatusDocument) -> int:
    (service,) = document["services"]
    (backend,) = service["backends"]
    return backend["intro_points"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "seed"
    path.touch(mode=0o600)
    path.write_bytes(_SEED)
    return path


@pytest.mark.timeout(480)
async def test_backend_answers_beside_the_node_and_is_taken_off_when_it_has_long_been_silent(
    network: PrivateNetwork, visitor: Visitor, key: Path
) -> None:
    master = OnionAddress(IdentityKeypair.from_seed(_SEED).public)
    publish = {"fetch_every": 2, "stale_after": _STALE_AFTER_MIN}
    async with (
        WebPage("backend") as page,
        PlainService(network, "backend", page.address, master=master) as backend,
        LabCluster(
            network, ["a"], name="backed", key=key, publish=publish, backends=[backend.address]
        ) as cluster,
    ):
        assert cluster.address == master
        found = await cluster.wait_until(
            lambda d: is_served(d) and _num_points(d) > 0, "points of the backend", _LIMIT_S
        )
        visits = await visit_often(visitor, master, _NUM_VISITS, refetch=True)
        await backend.stop()
        gone = await cluster.wait_until(
            lambda d: not _num_points(d) and d["services"][0]["published"],
            "descriptors without the backend",
            _STALE_LIMIT_S,
        )
        again = await visit_often(visitor, master, _NUM_VISITS // 3, refetch=True)

    (service,) = found["services"]
    assert service["pool"] > _num_points(found)
    assert [visit.error for visit in visits if not visit.ok] == []
    assert {visit.text for visit in visits} == {"a", "backend"}
    assert any("published nothing new since" in problem for problem in gone["problems"])
    assert [visit.error for visit in again if not visit.ok] == []
    assert {visit.text for visit in again} == {"a"}
