"""The demo as a newcomer runs it: its own process and network, and nothing of it left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbcluster.lab.node_process import COMMAND

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

_LIMIT_S = 480.0


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo puts everything it makes; short, for Unix sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


def tors_in(directory: Path) -> list[str]:
    """The command lines of every process that lives in a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command and "tor" in command:
            found.append(command)
    return found


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
    assert figures["requests_ok"] >= 0.99 * (figures["requests_ok"] + figures["requests_failed"])
    assert 0 < figures["election_seconds"] < 5 * 2
    assert figures["election_seconds"] < figures["withdrawn_seconds"] < 5 * 15
    assert 0 < figures["longest_pause_seconds"] < 60
    assert 0 < figures["rejoined_seconds"] < 5 * 30
    assert "What a visitor saw" in done.stdout
    assert tors_in(scratch) == []
    assert [*scratch.iterdir()] == []


def test_demo_interrupted_by_ctrl_c_leaves_nothing(scratch: Path) -> None:
    demo = subprocess.Popen(
        [str(COMMAND), "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "a private Tor network of" in line:
            break
    demo.send_signal(signal.SIGINT)
    rest = demo.stdout.read()
    demo.stdout.close()
    assert demo.wait(60) != 0
    assert "Traceback" not in rest
    assert tors_in(scratch) == []
    assert [*scratch.iterdir()] == []
