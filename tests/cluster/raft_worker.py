"""A process that runs one engine over the ledger, driven by JSON lines on stdin and stdout.

Its argument is the path of a JSON file, see `processes.py`. It says "started", and then every
change of role, leader, term or number of links, by the monotonic clock that all processes share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbcluster.core.ids import NodeId
from rbcluster.errors import RaftError
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.profile import PROFILES
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.tls import TlsFiles
from tests.shared.ledger import LEDGER, Ledger
from tests.shared.local_cluster import CLUSTER

Engine = RaftEngine[Ledger, int]


def read_settings(path: Path) -> RaftSettings:
    """Read what `processes.write_settings` wrote."""
    raw = json.loads(path.read_text())
    tls = {name: Path(value) for name, value in raw["tls"].items()}
    return RaftSettings(
        cluster=CLUSTER,
        node=NodeId(raw["node"]),
        listen=(raw["listen"][0], raw["listen"][1]),
        peers={NodeId(name): (host, port) for name, (host, port) in raw["peers"].items()},
        learners={NodeId(name): (host, port) for name, (host, port) in raw["learners"].items()},
        learner=raw["learner"],
        data_dir=Path(raw["data_dir"]),
        tls=TlsFiles(**tls),
        profile=PROFILES[raw["profile"]],
        sync=raw["sync"],
    )


def say(answer: Mapping[str, object]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Stopwatch:
    """Measures how late this process's loop is: a heartbeat due at the same moment would be too."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._late_s: list[float] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._period_s
            await asyncio.sleep(self._period_s)
            self._late_s.append(loop.time() - due)

    def take(self) -> list[float]:
        """Return what was measured since it was last asked, in seconds."""
        taken, self._late_s = self._late_s, []
        return taken


class Announcer:
    """Says when role, leader, term or number of links have changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._said: dict[str, object] = {}

    def announce(self) -> None:
        """Say it, if it is so."""
        view = self._engine.view
        leader = None if view.leader is None else view.leader.name
        now: dict[str, object] = {
            "role": view.role.value,
            "leader": leader,
            "term": view.term,
            "num_links": len(view.connected),
        }
        if now != self._said:
            self._said = now
            say({"event": "view", "at": time.monotonic(), **now})


async def answer(
    engine: Engine, stopwatch: Stopwatch, request: Mapping[str, Any]
) -> dict[str, object]:
    """Do what a line asks for."""
    match request["do"]:
        case "propose":
            result = await engine.propose(request["command"].encode(), request["timeout_s"])
            return {"outcome": result.outcome.value, "detail": result.detail}
        case "propose_many":  # a run of commands, so many at a time
            return await propose_many(engine, request["num"], request["width"])
        case "transfer":
            try:
                await engine.transfer(None, request["timeout_s"])
            except RaftError as error:
                return {"error": str(error)}
            return {}
        case "lateness":
            return {"late_s": stopwatch.take()}
        case "state":
            return {"state": [command.decode() for command in engine.state]}
        case other:
            raise ValueError(other)


async def propose_many(engine: Engine, num: int, width: int) -> dict[str, object]:
    """Commit `num` commands, `width` at a time; tell how long each took."""
    todo = iter(range(num))
    took: list[float] = []

    async def proposer() -> None:
        for i in todo:
            began = time.monotonic()
            result = await engine.propose(b"%d" % i, 10)
            if result.verdict is not None:
                took.append(time.monotonic() - began)

    began = time.monotonic()
    await asyncio.gather(*(proposer() for _ in range(width)))
    return {"took_s": took, "total_s": time.monotonic() - began}


async def main() -> None:
    """Run until stdin ends."""
    settings = read_settings(Path(sys.argv[1]))
    engine: Engine = RaftEngine(settings, LEDGER)
    stopwatch = Stopwatch(settings.profile.append_s)
    await engine.start()
    engine.subscribe(Announcer(engine).announce)
    say({"event": "started"})
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def serve(request: Mapping[str, Any]) -> None:
        say({"id": request["id"], **await answer(engine, stopwatch, request)})

    async with asyncio.TaskGroup() as tasks:
        measuring = tasks.create_task(stopwatch.run())
        while line := await reader.readline():
            tasks.create_task(serve(json.loads(line)))
        measuring.cancel()
    await engine.stop()


if __name__ == "__main__":
    asyncio.run(main())
