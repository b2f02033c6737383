"""Nodes as processes of their own, which can be killed with -9 and started again."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbcluster.core.ids import NodeId
from rbcluster.raft.settings import RaftSettings
from tests.shared.local_cluster import LIMIT_S, make_settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a node said of itself, and when (monotonic seconds)."""

    role: str
    leader: str | None
    term: int
    num_links: int
    at: float


def write_settings(settings: RaftSettings, directory: Path, profile: str) -> Path:
    """Write a worker's configuration file."""
    tls = settings.tls
    path = directory / f"{settings.node}.json"
    path.write_text(
        json.dumps(
            {
                "node": settings.node.name,
                "listen": settings.listen,
                "peers": {peer.name: address for peer, address in settings.peers.items()},
                "learners": {node.name: address for node, address in settings.learners.items()},
                "learner": settings.learner,
                "data_dir": str(settings.data_dir),
                "tls": {"ca": str(tls.ca), "cert": str(tls.cert), "key": str(tls.key)},
                "profile": profile,
                "sync": settings.sync,
            }
        )
    )
    return path


class NodeProcess:
    """One worker."""

    def __init__(self, node: NodeId, process: asyncio.subprocess.Process) -> None:
        self.node = node
        self.process = process
        self.seen = Seen("follower", None, 0, 0, time.monotonic())
        self.leads_since = float("-inf")  # monotonic seconds; when it last became leader
        self.changed = asyncio.Event()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())
        self.is_started = False

    @classmethod
    async def start(cls, node: NodeId, configuration: Path) -> NodeProcess:
        """Start a worker; it may take a while until it `is_started`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.cluster.raft_worker", str(configuration)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        return cls(node, process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            match said.pop("event", None):
                case "started":
                    self.is_started = True
                case "view":
                    was_leader, self.seen = self.seen.role == "leader", Seen(**said)
                    if self.seen.role == "leader" and not was_leader:
                        self.leads_since = self.seen.at
                case _:
                    self._answers.pop(said["id"]).set_result(said)
            self.changed.set()
        for future in self._answers.values():
            future.cancel()

    def ask(self, **request: object) -> asyncio.Future[dict[str, Any]]:
        """Send a request; the future is cancelled when the process dies."""
        assert self.process.stdin is not None
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        number = id(future)
        self._answers[number] = future
        self.process.stdin.write(json.dumps({"id": number, **request}).encode() + b"\n")
        return future

    async def propose(self, command: str) -> str:
        """Propose, and return the outcome; ``dead`` if the process died over it."""
        try:
            answer = await self.ask(do="propose", command=command, timeout_s=LIMIT_S)
        except asyncio.CancelledError:
            return "dead"
        return str(answer["outcome"])

    async def state(self) -> list[str]:
        """Return the commands that the node has applied."""
        answer = await self.ask(do="state")
        return [str(command) for command in answer["state"]]

    async def kill(self) -> None:
        """Kill it with -9."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


class ProcessCluster:
    """Some workers."""

    def __init__(self, settings: dict[NodeId, RaftSettings], directory: Path, profile: str) -> None:
        self._configurations = {
            node: write_settings(each, directory, profile) for node, each in settings.items()
        }
        self.addresses = [each.listen for each in settings.values()]
        self._learners = frozenset(node for each in settings.values() for node in each.learners)
        self.nodes: dict[NodeId, NodeProcess] = {}

    async def start(self, *nodes: NodeId) -> None:
        """Start workers, all of them if none is named, and wait until they take part."""
        wanted = nodes or tuple(self._configurations)
        for node in wanted:
            self.nodes[node] = await NodeProcess.start(node, self._configurations[node])
        await self.until(lambda: all(each.is_started for each in self.nodes.values()))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what the workers say fulfils a condition."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                for node in self.nodes.values():
                    node.changed.clear()
                waits = [asyncio.create_task(n.changed.wait()) for n in self.nodes.values()]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()

    def _is_linked(self, node: NodeProcess) -> bool:
        """Tell whether a worker has all its links: a learner has them with voters alone."""
        voters = self.nodes.keys() - self._learners
        wanted = voters if node.node in self._learners else self.nodes.keys()
        return node.seen.num_links == len(wanted - {node.node})

    def _leader(self) -> NodeProcess | None:
        if not all(self._is_linked(node) for node in self.nodes.values()):
            return None
        told = {node.seen.leader for node in self.nodes.values()}
        terms = {node.seen.term for node in self.nodes.values()}
        name = told.pop()
        if told or name is None or len(terms) > 1:
            return None
        node = self.nodes.get(NodeId(name))
        return node if node is not None and node.seen.role == "leader" else None

    async def leader(self) -> NodeProcess:
        """Wait until all living workers are linked and agree on a living leader."""
        await self.until(lambda: self._leader() is not None)
        leader = self._leader()
        assert leader is not None
        return leader

    async def kill(self, *nodes: NodeId) -> None:
        """Kill workers with -9, all at once."""
        await asyncio.gather(*(self.nodes.pop(node).kill() for node in nodes))


@asynccontextmanager
async def running_processes(
    directory: Path, names: str, profile: str = "lan", *, learners: Iterable[str] = ()
) -> AsyncIterator[ProcessCluster]:
    """Lay out and start a cluster of workers; none is left at the end.

    :param names: of the voters, a letter each.
    """
    settings = make_settings(directory, names, learners=learners)
    cluster = ProcessCluster(settings, directory, profile)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.kill(*cluster.nodes)
