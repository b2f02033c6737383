"""Do strangers disturb a cluster? Three voters, real processes, TLS, fsync; a thousand strangers.

Run: ``python -m bench.strangers [--strangers 1000] [--seconds 30]``. Each stranger connects to a
voter, does one of the things in `tests/cluster/strangers.py` until it is cut off, and comes back a
second later. They run at the lowest priority, as they would on machines of their own. Prints,
without and with them,

- ``elections``: how often the term rose
- ``late``: how late the loops of the voters were at the moments of heartbeats: median, 99th
  percentile, longest; the aim is a 99th percentile below 150 ms, half of the shortest silence
  after which a follower stands for election
- ``visits``: how many connections were made and cut off, and how long the longest lasted
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

from bench.crowd import SETTLE_S, commit_steadily, lateness, term
from rbcluster.raft.settings import Address
from tests.cluster.processes import ProcessCluster, running_processes
from tests.cluster.strangers import Kind, bother

RETURN_S = 1.0


async def be_strangers(addresses: list[Address], number: int, seconds: float) -> None:
    """Bother the voters for a while; print the number of visits and the longest."""
    os.nice(19)
    stays: list[float] = []

    async def one(address: Address, kind: Kind) -> None:
        while True:
            stays.append(await bother(address, kind))
            await asyncio.sleep(RETURN_S)

    targets = islice(zip(cycle(addresses), cycle(Kind), strict=False), number)
    tasks = [asyncio.create_task(one(address, kind)) for address, kind in targets]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps([len(stays), max(stays)]))


async def bothered(cluster: ProcessCluster, number: int, seconds: float) -> tuple[int, float]:
    """Commit steadily while strangers come, in a process of their own."""
    strangers = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.strangers", "--seconds", str(seconds)),
        *("--strangers", str(number), "--at", json.dumps(cluster.addresses)),
        stdout=asyncio.subprocess.PIPE,
    )
    await commit_steadily(cluster, seconds)
    output, _ = await strangers.communicate()
    num_visits, longest_s = json.loads(output)
    return num_visits, longest_s


async def main(number: int, seconds: float) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        async with running_processes(Path(directory), "abc") as cluster:
            await cluster.leader()
            await asyncio.sleep(SETTLE_S)
            for num in (0, number):
                before = term(cluster)
                await lateness(cluster)
                num_visits, longest_s = 0, 0.0
                if num:
                    num_visits, longest_s = await bothered(cluster, num, seconds)
                else:
                    await commit_steadily(cluster, seconds)
                late = await lateness(cluster)
                median, p99, longest = late[len(late) // 2], late[len(late) * 99 // 100], late[-1]
                print(
                    f"strangers {num:5}  elections {term(cluster) - before}  late "
                    f"{1000 * median:.1f} / {1000 * p99:.1f} / {1000 * longest:.1f} ms  "
                    f"visits {num_visits}, the longest {longest_s:.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of a crowd of strangers.")
    parser.add_argument("--strangers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--at", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.at:
        asyncio.run(
            be_strangers(
                [(host, port) for host, port in json.loads(arguments.at)],
                arguments.strangers,
                arguments.seconds,
            )
        )
    else:
        asyncio.run(main(arguments.strangers, arguments.seconds))
