"""How little a visitor notices of a leader killed with -9: real tors, one private network.

Run: ``python -m bench.failover [--trials 20]``. Kills the leader of three nodes and its tor, starts
it again when every HSDir has accepted descriptors without it, and so on with the next. Prints each
trial, the median and the 95th percentile of

- ``elected``: seconds from the kill until another node leads
- ``withdrawn``: ... until every responsible HSDir has accepted descriptors without the dead node
- ``pause``: the longest that a visitor who comes all the time waited from one page to the next
- ``failed``: that visitor's requests that failed, of as many as ``visits`` says
- ``returned``: seconds from the dead node's start until its points are on every HSDir again
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from bench.figures import MIN_TRIALS, show, show_heading
from rbcluster.agent.status_document import StatusDocument
from rbcluster.lab.cluster import LabCluster, is_served, is_without
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visiting import further_visits, longest_pause_s, steady_visits
from rbcluster.lab.visitor import Visitor

LIMIT_S = 180.0
REST_S = 30.0  # between trials: the upload budget fills again, and a cluster at rest is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one kill cost; times in seconds."""

    elected: float
    withdrawn: float
    pause: float
    failed: float
    visits: float
    returned: float


async def play(cluster: LabCluster, visitor: Visitor) -> Trial:
    """Kill the leader of a healthy cluster and start it again."""
    dead = (await cluster.wait_until(is_served, "a healthy cluster", LIMIT_S))["cluster"]["leader"]
    if dead is None:
        raise SystemExit("a healthy cluster without a leader: a bug of the status document")

    def is_led_again(document: StatusDocument) -> bool:
        return document["cluster"]["leader"] not in {None, dead}

    async with steady_visits(visitor, cluster.address) as visits:
        await further_visits(visits)
        killed_at = time.monotonic()
        await cluster.nodes[dead].kill(with_tor=True)
        await cluster.wait_until(is_led_again, "a new leader", LIMIT_S)
        elected_at = time.monotonic()
        await cluster.wait_until(
            lambda d: is_without(d, dead), f"descriptors without {dead}", LIMIT_S
        )
        withdrawn_at = time.monotonic()
        await further_visits(visits)
    started_at = time.monotonic()
    cluster.nodes[dead].start()
    await cluster.wait_until(is_served, f"the return of {dead}", LIMIT_S)
    return Trial(
        elected=elected_at - killed_at,
        withdrawn=withdrawn_at - killed_at,
        pause=longest_pause_s(visits),
        failed=sum(not visit.ok for visit in visits),
        visits=len(visits),
        returned=time.monotonic() - started_at,
    )


def show_trial(name: str, values: Sequence[float]) -> None:
    """Print what one trial gave."""
    print(f"{name:10}" + "".join(f"{value:11.2f}" for value in values), flush=True)


async def main(num_trials: int) -> None:
    """Measure and print."""
    names = [field.name for field in fields(Trial)]
    print(" " * 10 + "".join(f"{name:>11}" for name in names), flush=True)
    rows: list[list[float]] = []
    async with (
        PrivateNetwork() as network,
        Visitor(network) as visitor,
        LabCluster(network) as cluster,
    ):
        for number in range(num_trials):
            trial = await play(cluster, visitor)
            rows.append([getattr(trial, name) for name in names])
            show_trial(str(number + 1), rows[-1])
            await asyncio.sleep(REST_S)
    show_heading()
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        show(name, column, "" if name in {"failed", "visits"} else "s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of a leader's sudden end.")
    parser.add_argument("--trials", type=int, default=MIN_TRIALS)
    asyncio.run(main(parser.parse_args().trials))
