"""Does a busy machine change leaders? Three voters, real processes, TLS, fsync, and idle loops.

Run: ``python -m bench.crowd [--busy 16] [--nice 0] [--seconds 60]``. Beside the voters, so many
processes use up all the processor time they get, so much nicer than the voters. Nothing fails
meanwhile, so every election is one too many. A command is proposed every 100 ms. Prints

- ``elections``: how often the term rose
- ``late``: how late the loops of the voters were at the moments of heartbeats: median, 99th
  percentile, longest
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.processes import ProcessCluster, running_processes

COMMAND_EVERY_S = 0.1
SETTLE_S = 2.0


@contextmanager
def idle_loops(number: int, niceness: int) -> Iterator[None]:
    """Keep every core busy; each loop ends with this process."""
    loop = f"import os; os.nice({niceness})\nwhile True: pass"
    pids = [
        os.posix_spawn(sys.executable, [sys.executable, "-c", loop], os.environ)
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def term(cluster: ProcessCluster) -> int:
    """Return the highest term that any voter has seen."""
    return max(node.seen.term for node in cluster.nodes.values())


async def commit_steadily(cluster: ProcessCluster, seconds: float) -> int:
    """Propose to each voter in turn; return how many commands were committed."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    nodes = list(cluster.nodes.values())
    num_committed = number = 0
    while loop.time() < end:
        number += 1
        outcome = await nodes[number % len(nodes)].propose(f"command {number}")
        num_committed += outcome == "committed"
        await asyncio.sleep(COMMAND_EVERY_S)
    return num_committed


async def lateness(cluster: ProcessCluster) -> list[float]:
    """Return how late all voters were since they were last asked, sorted."""
    answers = [await node.ask(do="lateness") for node in cluster.nodes.values()]
    return sorted(late for answer in answers for late in answer["late_s"])


async def main(num_busy: int, niceness: int, seconds: float) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        async with running_processes(Path(directory), "abc") as cluster:
            await cluster.leader()
            await asyncio.sleep(SETTLE_S)
            before = term(cluster)
            await lateness(cluster)
            with idle_loops(num_busy, niceness):
                num_committed = await commit_steadily(cluster, seconds)
                late = await lateness(cluster)
                elections = term(cluster) - before
    median, p99, longest = late[len(late) // 2], late[len(late) * 99 // 100], late[-1]
    print(
        f"busy {num_busy}  elections {elections}  committed {num_committed}  late "
        f"{1000 * median:.1f} / {1000 * p99:.1f} / {1000 * longest:.1f} ms",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of elections on a busy machine.")
    parser.add_argument("--busy", type=int, default=16)
    parser.add_argument("--nice", type=int, default=0, help="the idle loops' priority")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.busy, arguments.nice, arguments.seconds))
