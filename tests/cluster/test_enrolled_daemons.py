"""Real daemons, told what to do by the commands an operator has: found, invite, join, demote."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from click.testing import CliRunner

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.client import NoDaemon, fetch_status
from rbcluster.cli.main import main
from rbcluster.config import load_config
from rbcluster.core.ids import NodeId
from rbcluster.lab.node_process import COMMAND
from rbcluster.lab.waiting import wait_for
from tests.shared.local_cluster import LIMIT_S, free_addresses

Condition = Callable[[StatusDocument], bool]
NO_TOR = '\n[tor]\nbinary = "/bin/false"\n'


async def rbcluster(*arguments: object) -> str:
    """Run a command, in a thread of its own; return what it said."""
    command = [str(argument) for argument in arguments]
    async with asyncio.timeout(LIMIT_S):
        result = await asyncio.to_thread(CliRunner().invoke, main, command)
    return result.output.strip()


class Daemon:
    """A running `rbcluster run`."""

    def __init__(self, toml: Path, name: str) -> None:
        self.options = ("--config", toml, "--node", name)
        self._socket = load_config(toml).node(NodeId(name)).paths.api_socket

    async def until(self, condition: Condition) -> StatusDocument:
        async def look() -> StatusDocument | None:
            try:
                document = await fetch_status(self._socket)
            except NoDaemon:
                return None
            return document if condition(document) else None

        return await wait_for(look, "the status waited for", LIMIT_S)


@contextlib.asynccontextmanager
async def running(toml: Path, name: str) -> AsyncIterator[Daemon]:
    daemon = Daemon(toml, name)
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), "run", *map(str, daemon.options)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        yield daemon
    finally:
        process.kill()
        await process.communicate()


def voters(*names: str) -> Condition:
    return lambda document: document["cluster"]["voters"] == list(names)


async def test_a_machine_joins_by_a_token_gets_a_vote_and_can_be_removed(
    tmp_path: Path,
) -> None:
    a, d, listen = (f"{host}:{port}" for host, port in free_addresses(3))
    folder = tmp_path / "c"
    assert "Made in" in await rbcluster("init", folder, "--name", "test", "--node", f"a={a}")
    toml = folder / "cluster.toml"
    text = toml.read_text().replace(f'"{a}"', f'"{a}"\ndata_dir = "nodes/a"\nissuer = true')
    toml.write_text(text + NO_TOR)
    async with running(toml, "a") as first:
        await first.until(voters("a"))
        refused = await rbcluster("invite", "--listen", listen, *first.options)
        assert "the authority's key is not on this node" in refused
        (folder / "ca").rename(folder / "nodes" / "a" / "ca")
        token = await rbcluster("invite", "--listen", listen, *first.options)
        home = tmp_path / "d"
        joined = await rbcluster(
            *("join", token, "--node", "d", "--address", d),
            *("--data-dir", home / "data", "--config", home / "cluster.toml"),
        )
        assert joined.startswith("d is a member")
        theirs = home / "cluster.toml"
        text = theirs.read_text().replace(f'"{d}"', f'"{d}"\ndata_dir = "data"')
        theirs.write_text(text + NO_TOR)
        async with running(theirs, "d") as second:
            document = await second.until(voters("a", "d"))
            assert document["notes"][0].startswith("two voters tolerate no failure")
            assert await rbcluster("remove", "d", *second.options) == "d is no member"
            document = await first.until(voters("a"))
            assert [node["name"] for node in document["nodes"]] == ["a"]


async def test_a_machine_certified_by_hand_needs_no_token(tmp_path: Path) -> None:
    a, b = (f"{host}:{port}" for host, port in free_addresses(2))
    folder = tmp_path / "c"
    await rbcluster("init", folder, "--name", "test", "--node", f"a={a}")
    toml = folder / "cluster.toml"
    text = toml.read_text().replace(f'"{a}"', f'"{a}"\ndata_dir = "nodes/a"')
    toml.write_text(text + NO_TOR)
    async with running(toml, "a") as first:
        await first.until(voters("a"))
        assert "is the data directory of b" in await rbcluster("certify", folder, "b")
        assert await rbcluster("add", "b", b, "--learner", *first.options) == (
            "b is a member: start it"
        )
        theirs = folder / "b.toml"
        node = f'[[node]]\nname = "b"\naddress = "{b}"\ndata_dir = "nodes/b"\nrole = "learner"'
        theirs.write_text(toml.read_text().replace("[[service]]", f"{node}\n\n[[service]]"))
        async with running(theirs, "b") as second:
            await second.until(lambda d: [n["role"] for n in d["nodes"]] == ["voter", "learner"])
            assert await rbcluster("promote", "b", *first.options) == "b votes"
            assert await rbcluster("demote", "b", *first.options) == "b has no vote"
            new = "b.example.org:7300"
            said = await rbcluster("node", "set-address", "b", new, *first.options)
            assert said == f"b is reached at {new}"
            await first.until(lambda d: d["nodes"][1]["address"] == new)
