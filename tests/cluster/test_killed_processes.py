from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from rbcluster.core.ids import NodeId
from tests.cluster.processes import ProcessCluster, running_processes
from tests.shared.local_cluster import LIMIT_S

NODES = tuple(NodeId(name) for name in "abc")


class Writers:
    """Some proposers that write to all nodes until told to stop."""

    def __init__(self, cluster: ProcessCluster, num: int) -> None:
        self._cluster = cluster
        self.committed: list[str] = []
        self._is_over = False
        self._tasks = [asyncio.create_task(self._write(i)) for i in range(num)]

    async def _write(self, writer: int) -> None:
        number = 0
        while not self._is_over:
            nodes = list(self._cluster.nodes.values())
            command = f"{writer}/{number}"
            number += 1
            if nodes and await nodes[number % len(nodes)].propose(command) == "committed":
                self.committed.append(command)
            await asyncio.sleep(0)

    async def reach(self, num: int) -> None:
        """Wait until so many more commands have been committed."""
        goal = len(self.committed) + num
        async with asyncio.timeout(LIMIT_S):
            while len(self.committed) < goal:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Let every writer end its last proposal."""
        self._is_over = True
        await asyncio.gather(*self._tasks)


async def agreed_state(cluster: ProcessCluster) -> list[str]:
    """Wait until all nodes have applied the same commands; return them."""
    async with asyncio.timeout(LIMIT_S):
        for number in itertools.count():  # a busy machine changes leaders at any time
            barrier = f"barrier {number}"
            if await (await cluster.leader()).propose(barrier) == "committed":
                break
        while True:
            states = [await node.state() for node in cluster.nodes.values()]
            if all(state == states[0] for state in states) and states[0][-1] == barrier:
                return states[0]
            await asyncio.sleep(0.01)


async def test_nothing_acknowledged_is_lost_when_the_leader_is_killed(tmp_path: Path) -> None:
    async with running_processes(tmp_path, "abc") as cluster:
        old = await cluster.leader()
        writers = Writers(cluster, num=3)
        await writers.reach(50)
        await cluster.kill(old.node)
        new = await cluster.leader()
        assert new.node != old.node
        assert new.seen.term > old.seen.term
        await writers.reach(50)
        await cluster.start(old.node)
        await writers.reach(50)
        await writers.stop()
        state = await agreed_state(cluster)
        assert set(writers.committed) <= set(state)
        assert len(set(state)) == len(state)


async def test_nothing_acknowledged_is_lost_when_all_are_killed_at_once(tmp_path: Path) -> None:
    async with running_processes(tmp_path, "abc") as cluster:
        await cluster.leader()
        writers = Writers(cluster, num=6)
        await writers.reach(100)
        await cluster.kill(*NODES)
        await writers.stop()
        await cluster.start()
        state = await agreed_state(cluster)
        assert set(writers.committed) <= set(state)
