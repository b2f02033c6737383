"""The command itself: how it fails, what it lists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rbcluster import __version__
from rbcluster.cli.complaint import complain
from rbcluster.cli.main import main
from rbcluster.errors import ConfigError


def test_each_line_of_an_error_has_the_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    complain(ConfigError("x: one\nx: two\x1b[2J"))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "rbcluster: x: one\nrbcluster: x: two?[2J\n")


def test_the_daemon_is_not_started_with_a_wrong_configuration(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text("[cluster]\n")
    result = CliRunner().invoke(main, ["run", "--config", str(path)])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"rbcluster: {path}: cluster.name: is missing: it must be given",
        f"rbcluster: {path}: node: there is none: give at least one, as a table [[node]]",
        f"rbcluster: {path}: service: there is none: give at least one, as a table [[service]]",
    ]


def test_a_bug_keeps_its_traceback() -> None:
    @click.command()
    def bug() -> None:
        raise ZeroDivisionError

    main.add_command(bug)
    try:
        assert isinstance(CliRunner().invoke(main, ["bug"]).exception, ZeroDivisionError)
    finally:
        del main.commands["bug"]


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"rbcluster, version {__version__}\n"


def leaves(group: click.Group, *before: str) -> Iterator[str]:
    """Name every command that is no mere group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, *before, name)
        else:
            yield " ".join([*before, name])


def test_every_command_stands_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `rbcluster ([a-z -]*[a-z])\b.*\|.*[0-9].*\|$", text, re.MULTILINE)
    assert sorted(rows) == sorted(leaves(main))


@pytest.mark.parametrize(
    "command", [[], *([name] for name in main.list_commands(click.Context(main)))]
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "-h"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: rbcluster")


def test_the_daemon_keeps_nothing_in_memory_that_only_the_demo_needs() -> None:
    look = (
        "import sys, click; from rbcluster.cli.main import main;"
        "main.get_command(click.Context(main), 'run');"
        "print([name for name in sys.modules if name.startswith(('rbcluster.lab', 'rich'))])"
    )
    result = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, check=True, text=True
    )
    assert result.stdout == "[]\n"
