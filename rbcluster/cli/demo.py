"""`rbcluster demo`: the main job on this machine, shown step by step, with figures at the end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table

from rbcluster.errors import ConfigError
from rbcluster.lab.demo import DemoFigures, Lab, run_demo

MIN_NODES = 3
MAX_NODES = 5  # each brings a tor and a daemon; more would crowd a small machine


@click.command(short_help="Kill the leader of a cluster on this machine, and watch.")
@click.option(
    "--nodes", type=click.IntRange(MIN_NODES, MAX_NODES), default=MIN_NODES, show_default=True
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the figures to this file.",
)
@click.pass_obj
def demo(lab: Lab | None, nodes: int, json_file: Path | None) -> None:
    """Kill the leader of a cluster in a private Tor network, and watch a visitor not notice.

    Everything runs on this machine and is gone afterwards.
    """
    if json_file is not None:
        _check_writable(json_file)
    console = Console()
    names = [chr(ord("a") + number) for number in range(nodes)]
    with console.status("") as status:
        figures = asyncio.run(run_demo(_ConsoleStage(console, status), names, lab))
    console.print(summary_table(figures))
    if json_file is not None:
        with _writing(json_file):
            json_file.write_text(json.dumps(asdict(figures), indent=2) + "\n")


def _check_writable(path: Path) -> None:
    """Refuse a file that can't be written now, not minutes later; leaves all as it was.

    :raises ConfigError: if it can't.
    """
    with _writing(path):
        try:
            path.open("x").close()
        except FileExistsError:
            path.open("a").close()
        else:
            path.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what was wrong when writing to a file."""
    try:
        yield
    except OSError as error:
        msg = f"--json {path} can't be written ({error.strerror}): name a file in a folder of yours"
        raise ConfigError(msg) from error


def summary_table(figures: DemoFigures) -> Table:
    """Draw the figures."""
    table = Table(title="What a visitor saw", show_header=False, title_justify="left")
    table.add_column("", style="bold")
    table.add_column("", justify="right")
    shares = ", ".join(f"{node} {number}" for node, number in figures.answered_by.items())
    table.add_row("nodes", str(figures.nodes))
    table.add_row("requests answered", str(figures.requests_ok))
    table.add_row("requests failed", str(figures.requests_failed))
    table.add_row("answered by", shares)
    table.add_row("new leader after the kill", f"{figures.election_seconds:.2f} s")
    table.add_row(
        "all HSDirs accepted its removal",
        f"{figures.withdrawn_seconds:.1f} s",
    )
    table.add_row("longest pause for the visitor", f"{figures.longest_pause_seconds:.1f} s")
    table.add_row("dead node back on show", f"{figures.rejoined_seconds:.1f} s")
    return table


class _ConsoleStage:
    """Tells on a console what the demo does."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._started_at = time.monotonic()
        self._what = ""

    def begin(self, what: str) -> None:
        self._what = what
        self._status.update(f"{self._clock()} {what} ...")

    def progress(self, detail: str) -> None:
        self._status.update(f"{self._clock()} {self._what}: {detail}")

    def done(self, what: str) -> None:
        self._console.print(f"[dim]{self._clock()}[/dim] [green]✓[/green] {what}", highlight=False)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started_at:5.0f} s"
