"""How fast a large download runs through the merged descriptor, against one through tor's own.

Run: ``python -m bench.download [--megabytes 20] [--trials 20]``.

In one private network: a cluster of three nodes with one address, and three plain tors that
publish a service each; three, since every tor keeps its guards, and some paths are quicker than
others. One visitor downloads from the one and from the others in turn, over fresh circuits, in an
order that changes each time (the first of two is often the quicker one), so that whatever else the
machine does meets both. Prints each pair (MB/s), and median and p95 of the time a
megabyte took: of times the high ones are bad, as in every other benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle

from bench.figures import MIN_TRIALS, show, show_heading
from rbcluster.hs.address import OnionAddress
from rbcluster.lab.cluster import DEFAULT_NAMES, LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.plain_service import PlainService
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.webpage import WebPage

SERVE_LIMIT_S = 120.0
VISIT_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """All that is compared, running."""

    visitor: Visitor
    cluster: LabCluster
    plain: tuple[PlainService, ...]


@asynccontextmanager
async def running_stand() -> AsyncIterator[Stand]:
    """Start everything in a network of its own."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(PrivateNetwork())
        visitor = await stack.enter_async_context(Visitor(network))
        cluster = await stack.enter_async_context(LabCluster(network))
        plain = []
        for name in DEFAULT_NAMES:
            page = await stack.enter_async_context(WebPage(name))
            service = PlainService(network, f"plain-{name}", page.address)
            plain.append(await stack.enter_async_context(service))
        await cluster.wait_until(is_served, "a merged descriptor", SERVE_LIMIT_S)
        yield Stand(visitor=visitor, cluster=cluster, plain=tuple(plain))


async def download(visitor: Visitor, address: OnionAddress, num_bytes: int) -> float:
    """Download once; return the speed in MB/s.

    A visit that fails (a rotation may come in between) is made again.
    """
    while True:
        visit = await visitor.visit(address, path=f"/bytes/{num_bytes}", timeout_s=VISIT_LIMIT_S)
        if visit.ok:
            return visit.bytes_per_second / 1e6
        print(f"again, since: {visit.error}", file=sys.stderr, flush=True)


async def measure(trials: int, num_bytes: int) -> list[tuple[float, float]]:
    """Return the speeds of the cluster and of a plain service (MB/s), trial by trial."""
    pairs = []
    async with running_stand() as stand:
        print(f"{'MB/s':10}{'merged':>10}{'tor':>10}{'ratio':>10}", flush=True)
        for trial, plain in zip(range(trials), cycle(stand.plain), strict=False):
            addresses = (stand.cluster.address, plain.address)
            first, second = addresses if trial % 2 else reversed(addresses)
            speed = {a: await download(stand.visitor, a, num_bytes) for a in (first, second)}
            ours, tors = (speed[address] for address in addresses)
            show_pair(str(trial + 1), ours, tors)
            pairs.append((ours, tors))
    return pairs


def show_pair(name: str, ours: float, tors: float) -> None:
    """Print one line of the table, and how the speeds compare."""
    print(f"{name:10}{ours:10.2f}{tors:10.2f}{ours / tors:10.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--trials", type=int, default=MIN_TRIALS)
    arguments = parser.parse_args()
    pairs = asyncio.run(measure(arguments.trials, arguments.megabytes * 1_000_000))
    show_heading()
    show("1 MB through the merged one", [1 / ours for ours, _ in pairs], "s")
    show("1 MB through tor's own", [1 / tors for _, tors in pairs], "s")
    show("ratio of the times", [tors / ours for ours, tors in pairs], "")


if __name__ == "__main__":
    main()
