"""Two onion addresses of one cluster: each is published, answered and told of by itself."""

from __future__ import annotations

from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import COMMAND
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visitor
from tests.e2e.care import LogWatch, calm, run
from tests.e2e.witness import Witness

_LIMIT_S = 120.0
_CALM_S = 15.0
_NUM_VISITS = 8
_NODES = ("x", "y")
_STARTING = (
    "tor has no consensus yet",
    "no microdescriptor of any HSDir yet",
    "no link with .: Connection refused",
    "no consensus to verify a report against yet",
)


async def status_page(cluster: LabCluster) -> tuple[int, str]:
    """Ask as an operator does.

    :returns: exit code and page.
    """
    config = cluster.directory / "cluster.toml"
    return await run(str(COMMAND), "status", "--config", str(config), "--node", _NODES[0])


async def test_two_services_of_one_cluster_are_answered_each_by_its_own_page(
    network: PrivateNetwork, visitor: Visitor
) -> None:
    services = ("web", "blog")
    async with LabCluster(network, _NODES, name="two", services=services) as cluster:
        logs = LogWatch(cluster)
        logs.expect(*_STARTING)
        await cluster.wait_until(is_served, "the publication of both services", _LIMIT_S)
        document = await calm(cluster, Witness(visitor, cluster), _CALM_S)
        code, page = await status_page(cluster)
        visits = {
            service: await visit_often(visitor, address, _NUM_VISITS)
            for service, address in cluster.addresses.items()
        }

        told = {service["name"]: service for service in document["services"]}
        assert told.keys() == visits.keys() == set(services)
        assert code == 0, page
        for service, address in cluster.addresses.items():
            assert told[service]["address"] == str(address)
            assert [d["slot"] for d in told[service]["descriptors"]] == ["first", "second"]
            assert all(d["intro_points"] > 0 for d in told[service]["descriptors"])
            assert f" {service}  published" in page
            assert str(address) in page
            assert [visit.error for visit in visits[service] if not visit.ok] == []
            assert {visit.text for visit in visits[service]} <= {f"{service} {n}" for n in _NODES}
        assert logs.findings() == []
