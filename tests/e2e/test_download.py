"""Speed: a large download through the merged descriptor, beside one of a service of tor's own.

What it asserts is five times slacker than the target, a ratio of 1; bench/download.py measures
that with more services and more trials.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from rbcluster.hs.address import OnionAddress
from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.plain_service import PlainService
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.webpage import WebPage

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.usefixtures("alone")]

_NUM_BYTES = 20_000_000
_NUM_PAIRS = 3
_MIN_RATIO = 0.2
_DOWNLOAD_LIMIT_S = 60.0


async def speed_of(visitor: Visitor, address: OnionAddress) -> float:
    """Download over a fresh circuit; return bytes per second."""
    path = f"/bytes/{_NUM_BYTES}"
    visit = await visitor.visit(address, path=path, timeout_s=_DOWNLOAD_LIMIT_S)
    assert (visit.error, len(visit.body)) == (None, _NUM_BYTES)
    return visit.bytes_per_second


@pytest.mark.usefixtures("logs")
async def test_a_download_is_not_slowed_down_by_the_merged_descriptor(
    network: PrivateNetwork,
    visitor: Visitor,
    cluster: LabCluster,
    record_property: Callable[[str, object], None],
) -> None:
    ratios = []
    async with WebPage("plain") as page, PlainService(network, "plain", page.address) as plain:
        for _ in range(_NUM_PAIRS):
            merged = await speed_of(visitor, cluster.address)
            ratios.append(merged / await speed_of(visitor, plain.address))
    figures = f"merged against tor's own: {', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    record_property("download", figures)
    print(figures)  # noqa: T201 - `pytest -rP` shows it

    assert statistics.median(ratios) > _MIN_RATIO, figures
