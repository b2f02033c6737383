"""The demo as a newcomer runs it: its own process and network, and nothing of it left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rbcluster.lab.node_process import COMMAND

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.usefixtures("alone")]

_LIMIT_S = 480.0
_STOP_LIMIT_S = 60.0
_NETWORK_STANDS = re.compile("a private Tor network of")
_CLUSTER_SERVES = re.compile(r"is served by 3 nodes; (\w+) leads")


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo puts everything it makes; short, for Unix sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setenv("COLUMNS", "200")  # no sentence is broken in two
        yield Path(directory)


def processes_in(directory: Path) -> dict[int, str]:
    """The command line of every process that lives in a directory: tors, nodes, guards."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            found[int(entry.parent.name)] = command
    return found


@contextmanager
def running_demo() -> Iterator[subprocess.Popen[str]]:
    """Run the demo; a test that fails before its end leaves nothing either."""
    demo = subprocess.Popen(
        [str(COMMAND), "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield demo
    finally:
        demo.kill()
        demo.communicate()


def read_until(demo: subprocess.Popen[str], stage: re.Pattern[str]) -> re.Match[str]:
    """Read what the demo says until it has reached a stage."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if match := stage.search(line):
            return match
    raise AssertionError(f"the demo ended before {stage.pattern!r}: {said}")


def test_demo_shows_all_of_it_and_leaves_nothing(scratch: Path, tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    done = subprocess.run(
        [str(COMMAND), "demo", "--json", str(figures_file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(figures_file.read_text())
    assert figures["nodes"] == 3
    assert set(figures["answered_by"]) == {"a", "b", "c"}
    assert figures["requests_ok"] == sum(figures["answered_by"].values())
    # Those that met the failure are among them; of fresh ones after it the demo itself asks more.
    assert figures["requests_ok"] >= 0.95 * (figures["requests_ok"] + figures["requests_failed"])
    assert 0 < figures["election_seconds"] < 5 * 2
    assert figures["election_seconds"] < figures["withdrawn_seconds"] < 5 * 15
    assert 0 < figures["longest_pause_seconds"] < 60
    assert 0 < figures["rejoined_seconds"] < 5 * 30
    assert "What a visitor saw" in done.stdout
    assert processes_in(scratch) == {}
    assert [*scratch.iterdir()] == []


@pytest.mark.parametrize("stage", [_NETWORK_STANDS, _CLUSTER_SERVES], ids=["network", "cluster"])
def test_demo_interrupted_by_ctrl_c_leaves_nothing(scratch: Path, stage: re.Pattern[str]) -> None:
    with running_demo() as demo:
        read_until(demo, stage)
        commands = " ".join(processes_in(scratch).values())
        assert ("rbcluster run" in commands) is (stage is _CLUSTER_SERVES)
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=_STOP_LIMIT_S)
    assert demo.returncode != 0
    assert "Traceback" not in rest
    assert processes_in(scratch) == {}
    assert [*scratch.iterdir()] == []


def test_demo_that_fails_says_why_and_leaves_nothing(scratch: Path) -> None:
    with running_demo() as demo:
        leader = read_until(demo, _CLUSTER_SERVES)[1]
        for pid, command in processes_in(scratch).items():
            if "rbcluster run" in command and f"--node {leader}" not in command:
                os.kill(pid, signal.SIGKILL)  # nobody is left to take over
        rest, _ = demo.communicate(timeout=_LIMIT_S)
    assert demo.returncode == 1
    assert "rbcluster: a new leader did not come about" in rest
    assert "What a visitor saw" not in rest
    assert "Traceback" not in rest
    assert processes_in(scratch) == {}
    assert [*scratch.iterdir()] == []
