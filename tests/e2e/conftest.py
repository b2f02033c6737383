"""What every end-to-end test shares: one private Tor network, a visitor and a cluster in it.

A network takes most of a minute to start, so all tests of this directory use one; under xdist
they go to one worker (``--dist loadgroup``). Whoever breaks the shared cluster need not mend it:
that is done for the next test.

What takes a whole period is watched beside them, from before the first test. Whoever harms the
network itself, or measures how fast it is, takes `alone`, and waits for the end of that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import pytest
import pytest_asyncio

from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visitor import Visitor
from tests.e2e.beside import played_beside
from tests.e2e.care import LogWatch, mend
from tests.e2e.chronicle import Chronicle, watch_a_period
from tests.e2e.witness import Witness

_HERE = Path(__file__).parent
_TEST_TIMEOUT_S = 300  # the first test waits for the network too
_WATCH_LIMIT_S = 500.0  # less than the time-out of the tests that may wait for it


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [n for n, item in enumerate(items) if item.path.is_relative_to(_HERE)]
    ours = [items[place] for place in places]
    for item in ours:
        if pytest_asyncio.is_async_test(item):
            # What fixtures of the session run in the loop must go on while a test runs.
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        item.add_marker(pytest.mark.tor)
        item.add_marker(pytest.mark.xdist_group("tor"))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_TEST_TIMEOUT_S))
    # Any order will do. This one spares waiting for the watch.
    for place, item in zip(places, sorted(ours, key=_patience), strict=True):
        items[place] = item


def _patience(item: pytest.Item) -> int:
    """Tell how well a test would do to come late."""
    return 2 * _takes(item, "alone") + _takes(item, "period_watch")


def _takes(item: pytest.Item, fixture: str) -> bool:
    return isinstance(item, pytest.Function) and fixture in item.fixturenames


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


@pytest.fixture(scope="session")
def period_watch(network: PrivateNetwork) -> Iterator[Future[Chronicle]]:
    """Watch a cluster for a whole period; what has been seen comes minutes later."""
    with played_beside(watch_a_period(network)) as chronicle:
        yield chronicle


@pytest.fixture(scope="session")
def chronicle(period_watch: Future[Chronicle]) -> Chronicle:
    """Return what was seen in a whole period, when it has been seen to the end."""
    return period_watch.result(_WATCH_LIMIT_S)


@pytest.fixture(scope="session", autouse=True)
def _begin_early(request: pytest.FixtureRequest) -> None:
    """Begin with the watch before the first test, if any of this session takes it."""
    if _is_watched(request):
        request.getfixturevalue("period_watch")


@pytest.fixture
def alone(request: pytest.FixtureRequest) -> None:
    """Wait until nothing plays beside the test."""
    if _is_watched(request):
        wait([request.getfixturevalue("period_watch")])  # its outcome is another test's


def _is_watched(request: pytest.FixtureRequest) -> bool:
    return any(_takes(item, "period_watch") for item in request.session.items)
