"""What one node costs at rest: three nodes at the default profile, each with a tor, nobody visits.

Run: ``python -m bench.idle [--trials 20]``. Prints median and 95th percentile, for leader and
followers apart, of

- CPU: of `rbcluster run` alone, in percent of one core, over `WINDOW_S`
- RSS: its resident memory at the end of that time

The private network votes every 10 seconds where the public one does every hour, so what follows a
consensus counts 360 times too often: the figures are upper bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import defaultdict
from pathlib import Path

from bench.figures import MIN_TRIALS, show, show_heading
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import NodeProcess

WINDOW_S = 15.0
LIMIT_S = 180.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(node: NodeProcess) -> float:
    """Return the seconds of processor time that a node's daemon has used since its start."""
    stat = Path(f"/proc/{node.pid}/stat").read_text("ascii")
    user, system = stat.rpartition(")")[2].split()[11:13]  # proc(5): fields 14 and 15
    return (int(user) + int(system)) / _TICKS_PER_S


def resident_mb(node: NodeProcess) -> float:
    """Return the resident memory of a node's daemon, in MB."""
    return int(Path(f"/proc/{node.pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES / 1e6


async def watch(cluster: LabCluster, num_trials: int) -> dict[str, list[float]]:
    """Measure every node of a cluster at rest, again and again."""
    found: dict[str, list[float]] = defaultdict(list)
    while len(found["leader, CPU"]) < num_trials:
        leader = (await cluster.wait_until(is_served, "a healthy cluster", LIMIT_S))["cluster"][
            "leader"
        ]
        used_before = {name: cpu_s(node) for name, node in cluster.nodes.items()}
        began = time.monotonic()
        await asyncio.sleep(WINDOW_S)
        took_s = time.monotonic() - began
        if (await cluster.status())["cluster"]["leader"] != leader:
            continue
        for name, node in cluster.nodes.items():
            role = "leader" if name == leader else "follower"
            found[f"{role}, CPU"].append(100 * (cpu_s(node) - used_before[name]) / took_s)
            found[f"{role}, RSS"].append(resident_mb(node))
    return found


async def main(num_trials: int) -> None:
    """Measure and print."""
    async with PrivateNetwork() as network, LabCluster(network) as cluster:
        found = await watch(cluster, num_trials)
    show_heading()
    for name, values in sorted(found.items()):
        show(name, values, "%" if name.endswith("CPU") else "MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of a cluster at rest.")
    parser.add_argument("--trials", type=int, default=MIN_TRIALS)
    asyncio.run(main(parser.parse_args().trials))
