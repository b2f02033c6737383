"""What every end-to-end test shares: one private Tor network, and one visitor in it.

A network takes most of a minute to start, so all tests of this directory use one; under xdist
they go to one worker (``--dist loadgroup``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visitor import Visitor

_HERE = Path(__file__).parent
_SERVE_LIMIT_S = 180
_TEST_TIMEOUT_S = 300  # the first test waits for the network too


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
async def cluster(network: PrivateNetwork) -> AsyncIterator[LabCluster]:
    """Return a cluster of three nodes that serves, for tests that leave it as they found it."""
    async with LabCluster(network, name="shared") as running:
        await running.wait_until(is_served, "a merged descriptor", _SERVE_LIMIT_S)
        yield running
