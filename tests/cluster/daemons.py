"""Real daemons without a tor, told what to do by the commands an operator has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.client import NoDaemon, fetch_status
from rbcluster.cli.main import main
from rbcluster.config import NodePaths, load_config
from rbcluster.core.ids import NodeId
from rbcluster.lab.node_process import COMMAND
from rbcluster.lab.waiting import wait_for
from tests.shared.local_cluster import LIMIT_S

Condition = Callable[[StatusDocument], bool]
NO_TOR = '\n[tor]\nbinary = "/bin/false"\n'


async def told(*arguments: object) -> str:
    """Run a command, in a thread of its own; return what it said."""
    command = [str(argument) for argument in arguments]
    async with asyncio.timeout(LIMIT_S):
        result = await asyncio.to_thread(CliRunner().invoke, main, command)
    return result.output.strip()


@dataclass(slots=True)
class Daemon:
    """One node's `rbcluster run`."""

    toml: Path
    name: str
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def options(self) -> tuple[str, ...]:
        """Name this node to a command."""
        return ("--config", str(self.toml), "--node", self.name)

    @property
    def paths(self) -> NodePaths:
        """Where it keeps what it has."""
        return load_config(self.toml).node(NodeId(self.name)).paths

    async def start(self) -> None:
        """Start it with what it has on disk."""
        self._process = await asyncio.create_subprocess_exec(
            *(str(COMMAND), "run", *self.options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    async def kill(self) -> None:
        """End it with kill -9, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None

    async def until(self, condition: Condition) -> StatusDocument:
        """Wait until its status fulfils a condition."""

        async def look() -> StatusDocument | None:
            try:
                document = await fetch_status(self.paths.api_socket)
            except NoDaemon:
                return None
            return document if condition(document) else None

        return await wait_for(look, "the status waited for", LIMIT_S)


@contextlib.asynccontextmanager
async def running(toml: Path, name: str) -> AsyncIterator[Daemon]:
    """Run a daemon as long as the block lasts."""
    daemon = Daemon(toml, name)
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.kill()


async def lay_out_first(folder: Path, address: str) -> Path:
    """Make a cluster of node a; return its cluster.toml."""
    said = await told("init", folder, "--name", "test", "--node", f"a={address}")
    assert "Made in" in said
    toml = folder / "cluster.toml"
    text = toml.read_text().replace(f'"{address}"', f'"{address}"\ndata_dir = "nodes/a"')
    toml.write_text(text + NO_TOR)
    return toml


async def join(host: Daemon, listen: str, home: Path, address: str) -> Path:
    """Let in a machine, by the name of its folder; return its cluster.toml."""
    token = await told("invite", "--listen", listen, *host.options)
    toml = home / "cluster.toml"
    said = await told(
        *("join", token, "--node", home.name, "--address", address),
        *("--data-dir", home / "data", "--config", toml),
    )
    assert said.startswith(f"{home.name} is a member"), said
    text = toml.read_text().replace(f'"{address}"', f'"{address}"\ndata_dir = "data"')
    toml.write_text(text + NO_TOR)
    return toml


def move(toml: Path, old: str, new: str) -> None:
    """Change a node's address in its own cluster.toml."""
    toml.write_text(re.sub(re.escape(f'"{old}"'), f'"{new}"', toml.read_text()))


def voters(*names: str) -> Condition:
    """Tell whether these vote."""
    return lambda document: document["cluster"]["voters"] == list(names)


def in_touch_with(name: str) -> Condition:
    """Tell whether there is a leader, and a node is linked."""

    def holds(document: StatusDocument) -> bool:
        linked = {  # a node that has just begun knows only those of its own cluster.toml
            node["name"]
            for node in document["nodes"]
            if node["state"] in {"leader", "follower", "learner"}
        }
        return name in linked and document["cluster"]["leader"] is not None

    return holds


def led_by(name: str | None) -> Condition:
    """Tell whether this node is known to lead."""
    return lambda document: document["cluster"]["leader"] == name
