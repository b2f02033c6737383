"""`rbcluster status` against a daemon's API over a real Unix socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.server import serve_api
from rbcluster.cli.main import main

CONFIG = """
[cluster]
name = "example"
[[node]]
name = "a"
address = "192.0.2.1:7300"
data_dir = "a"
[[service]]
name = "web"
address = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
ports = ["80"]
"""


@pytest.fixture(name="path")
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


def status(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["status", *map(str, args)])


async def ask(document: StatusDocument, path: Path, *args: str | Path) -> Result:
    async with serve_api(path, lambda: document):
        return await asyncio.to_thread(status, *args)


@pytest.mark.parametrize(
    ("name", "exit_code", "headline"),
    [
        ("healthy", 0, "HEALTHY   example"),
        ("degraded", 1, "DEGRADED   example"),
        ("no_leader", 2, "NO LEADER   example"),
    ],
)
async def test_the_exit_code_says_how_the_cluster_is(
    name: str, exit_code: int, headline: str, request: pytest.FixtureRequest, path: Path
) -> None:
    result = await ask(request.getfixturevalue(name), path, "--socket", path)
    assert (result.exit_code, result.stderr) == (exit_code, "")
    assert headline in result.stdout
    assert "\x1b" not in result.stdout  # no terminal, no colour


async def test_json_is_the_document_itself(degraded: StatusDocument, path: Path) -> None:
    result = await ask(degraded, path, "--socket", path, "--json")
    assert json.loads(result.stdout) == degraded
    assert result.exit_code == 1


async def test_the_socket_is_found_by_way_of_cluster_toml(
    healthy: StatusDocument, tmp_path: Path, data_dir: Path
) -> None:
    args = ("--config", tmp_path / "cluster.toml", "--node", "a")
    assert (await ask(healthy, data_dir / "api.sock", *args)).exit_code == 0


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "cluster.toml").write_text(CONFIG)
    (tmp_path / "a").mkdir()
    return tmp_path / "a"


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_without_a_daemon_a_monitor_is_told_as_without_a_leader(
    path: Path, option: tuple[str, ...]
) -> None:
    result = status("--socket", path, *option)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"rbcluster: no daemon answers at {path}: is rbcluster running? "
        "systemctl status rbcluster\n"
    )


def test_a_wrong_configuration_is_no_answer_either(tmp_path: Path) -> None:
    result = status("--config", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert "no such file: make one with `rbcluster init`" in result.stderr


def test_an_unknown_node_learns_the_names(tmp_path: Path, data_dir: Path) -> None:
    result = status("--config", tmp_path / "cluster.toml", "--node", data_dir.name + "b")
    assert result.exit_code == 2
    assert "has no node 'ab' (from --node): say which of a" in result.stderr
