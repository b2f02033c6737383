"""What every end-to-end test shares: one private Tor network, a visitor and a cluster in it.

A network takes most of a minute to start, so all tests of this directory use one; under xdist
they go to one worker (``--dist loadgroup``). Whoever breaks the shared cluster need not mend it:
that is done for the next test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visitor import Visitor
from tests.e2e.care import LogWatch, mend
from tests.e2e.witness import Witness

_HERE = Path(__file__).parent
_TEST_TIMEOUT_S = 300  # the first test waits for the network too


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            if pytest_asyncio.is_async_test(item):
                # What fixtures of the session run in the loop must go on while a test runs.
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.tor)
            item.add_marker(pytest.mark.xdist_group("tor"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TEST_TIMEOUT_S))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def network() -> AsyncIterator[PrivateNetwork]:
    """Return a running private network that votes every 10 seconds."""
    async with PrivateNetwork() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def visitor(network: PrivateNetwork) -> AsyncIterator[Visitor]:
    """Return a client of the network that has bootstrapped."""
    async with Visitor(network) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_cluster(network: PrivateNetwork) -> AsyncIterator[LabCluster]:
    """Return three nodes in any state: tests take `cluster`."""
    async with LabCluster(network) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def witness(visitor: Visitor, shared_cluster: LabCluster) -> Witness:
    """Return one who asks the tors of the cluster."""
    return Witness(visitor, shared_cluster)


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(shared_cluster: LabCluster) -> LabCluster:
    """Return three nodes that serve one address, all of them well."""
    await mend(shared_cluster)
    return shared_cluster


@pytest.fixture
def logs(cluster: LabCluster) -> Iterator[LogWatch]:
    """Watch what the nodes log during a test; what it does not expect fails it."""
    watch = LogWatch(cluster)
    yield watch
    assert watch.findings() == []
