"""How fast clusters of several sizes elect, hand over and commit: real processes, TLS, fsync.

Run: ``python -m bench.raft [--trials 20]``. Prints median and 95th percentile.

- ``new leader``: from kill -9 of the leader until another node has been elected
- ``next commit``: from kill -9 until a survivor has committed a command
- ``cut off``: from stopping all followers until the leader says that it leads no longer
- ``hand-over``: from the request on the leader until the new leader has committed a command
- ``commit``: one at a time, proposed on the leader or on a follower; and 64 at a time; three voters

All nodes share this machine: with 33 of them it is the processor that is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from pathlib import Path
from string import ascii_lowercase

from bench.figures import MIN_TRIALS, milliseconds, show, show_heading
from tests.cluster.processes import NodeProcess, ProcessCluster, running_processes

SIZES = ((3, 0), (5, 0), (7, 0), (3, 30))  # voters, learners
COMMITS = 500
SETTLE_S = 0.3  # a link that has just come up puts elections off; a cluster at rest is measured


async def commit_anywhere(cluster: ProcessCluster, command: str) -> None:
    """Propose to whoever claims to lead until a proposal is committed."""
    while True:
        leaders = [node for node in cluster.nodes.values() if node.seen.role == "leader"]
        if leaders and await leaders[-1].propose(command) == "committed":
            return
        await asyncio.sleep(0.001)


async def failover(cluster: ProcessCluster, trials: int) -> None:
    """Kill the leader, again and again."""
    elected: list[float] = []
    committed: list[float] = []
    for trial in range(trials):
        old = await cluster.leader()
        await asyncio.sleep(SETTLE_S)
        killed_at = time.monotonic()
        await cluster.kill(old.node)
        await commit_anywhere(cluster, f"after kill {trial}")
        committed.append(time.monotonic() - killed_at)
        new = await cluster.leader()
        elected.append(new.leads_since - killed_at)
        await cluster.start(old.node)
    show("kill -9 to new leader", milliseconds(elected), "ms")
    show("kill -9 to next commit", milliseconds(committed), "ms")


async def hand_over(cluster: ProcessCluster, trials: int) -> None:
    """Transfer the leadership, again and again."""
    took: list[float] = []
    for trial in range(trials):
        old = await cluster.leader()
        began = time.monotonic()
        answer = asyncio.ensure_future(old.ask(do="transfer", timeout_s=10))
        await cluster.until(lambda old=old: is_led_by_another(cluster, old))  # type: ignore[misc]
        await commit_anywhere(cluster, f"after hand-over {trial}")
        took.append(time.monotonic() - began)
        if "error" in (said := await answer):
            raise SystemExit(said["error"])
    show("hand-over to next commit", milliseconds(took), "ms")


def is_led_by_another(cluster: ProcessCluster, old: NodeProcess) -> bool:
    """Tell whether some other node has become leader."""
    return any(n.seen.role == "leader" and n is not old for n in cluster.nodes.values())


async def cut_off(cluster: ProcessCluster, trials: int) -> None:
    """Let all followers freeze, again and again."""
    took: list[float] = []
    for _ in range(trials):
        old = await cluster.leader()
        await asyncio.sleep(SETTLE_S)
        followers = [node for node in cluster.nodes.values() if node is not old]
        began = time.monotonic()
        for node in followers:
            node.process.send_signal(signal.SIGSTOP)
        await cluster.until(lambda old=old: old.seen.role != "leader")  # type: ignore[misc]
        took.append(old.seen.at - began)
        for node in followers:
            node.process.send_signal(signal.SIGCONT)
        await commit_anywhere(cluster, "after the cut")
    show("cut off to stepped down", milliseconds(took), "ms")


async def throughput(cluster: ProcessCluster) -> None:
    """Commit many commands."""
    leader = await cluster.leader()
    follower = next(node for node in cluster.nodes.values() if node is not leader)
    for name, node in (("on the leader", leader), ("through a follower", follower)):
        answer = await node.ask(do="propose_many", num=COMMITS, width=1)
        show(f"commit {name}", milliseconds(answer["took_s"]), "ms")
    for name, node in (("on the leader", leader), ("through a follower", follower)):
        answer = await node.ask(do="propose_many", num=4 * COMMITS, width=64)
        rate = len(answer["took_s"]) / answer["total_s"]
        print(f"64 at a time {name}: {rate:.0f} commits/s", flush=True)


async def measure(num_voters: int, num_learners: int, trials: int) -> None:
    """Run everything on one cluster."""
    learners = [f"learner{number:02}" for number in range(num_learners)]
    print(f"\n{num_voters} voters, {num_learners} learners", flush=True)
    show_heading()
    with tempfile.TemporaryDirectory() as directory:
        names = ascii_lowercase[:num_voters]
        async with running_processes(Path(directory), names, learners=learners) as cluster:
            if (num_voters, num_learners) == SIZES[0]:
                await throughput(cluster)
            await hand_over(cluster, trials)
            await cut_off(cluster, trials)
            await failover(cluster, trials)


async def main(trials: int) -> None:
    """Run everything on clusters of all sizes."""
    for num_voters, num_learners in SIZES:
        await measure(num_voters, num_learners, trials)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of the Raft engine.")
    parser.add_argument("--trials", type=int, default=MIN_TRIALS)
    asyncio.run(main(parser.parse_args().trials))
