"""`rbcluster drain`, `undrain` and `maintenance` against an API over a real Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.operations import (
    DRAIN,
    MAINTENANCE,
    UNDRAIN,
    DrainAnswer,
    DrainRequest,
    MaintenanceAnswer,
    MaintenanceRequest,
    UndrainAnswer,
    UndrainRequest,
    Value,
)
from rbcluster.api.routes import route
from rbcluster.api.server import serve_api
from rbcluster.cli.main import main
from rbcluster.core.ids import NodeId

C = NodeId("c")


class Daemon:
    """What a test's daemon was asked for, and what it says."""

    def __init__(self, path: Path, document: StatusDocument) -> None:
        self.path = path
        self.document = document
        self.left = 2
        self.asked: list[Value] = []
        self.before_status: Callable[[int], None] = lambda _: None  # gets the number of the look
        self._num_looks = 0

    def status(self) -> StatusDocument:
        self._num_looks += 1
        self.before_status(self._num_looks)
        return self.document

    async def drain(self, request: DrainRequest) -> DrainAnswer:
        self.asked.append(request)
        self.document["nodes"][2]["drained"] = True
        return DrainAnswer(left=self.left)

    async def undrain(self, request: UndrainRequest) -> UndrainAnswer:
        self.asked.append(request)
        return UndrainAnswer()

    async def maintain(self, request: MaintenanceRequest) -> MaintenanceAnswer:
        self.asked.append(request)
        return MaintenanceAnswer(until_ms=None)

    async def run(self, *args: str) -> Result:
        routes = [
            route(DRAIN, self.drain),
            route(UNDRAIN, self.undrain),
            route(MAINTENANCE, self.maintain),
        ]
        async with serve_api(self.path, self.status, routes):
            options = [*args, "--socket", str(self.path)]
            return await asyncio.to_thread(CliRunner().invoke, main, options)


@pytest.fixture
def daemon(tmp_path: Path, healthy: StatusDocument) -> Daemon:
    healthy["nodes"][2]["last_contact_seconds"] = 0
    return Daemon(tmp_path / "api.sock", healthy)


async def test_without_wait_it_returns_once_it_is_decided(daemon: Daemon) -> None:
    result = await daemon.run("drain", "c", "--force")
    assert (result.exit_code, result.output) == (
        0,
        "c is drained: its introduction points are being taken off\n",
    )
    assert daemon.asked == [DrainRequest(node=C, force=True)]


async def test_wait_lasts_until_it_is_published_and_nobody_is_connected(daemon: Daemon) -> None:
    daemon.document["services"][0]["published"] = False
    daemon.document["nodes"][2]["visitors"] = 1

    def go_on(look: int) -> None:
        daemon.document["services"][0]["published"] = look >= 2
        daemon.document["nodes"][2]["visitors"] = int(look < 3)

    daemon.before_status = go_on
    result = await daemon.run("drain", "c", "--wait")
    assert (result.exit_code, result.output) == (
        0,
        "c is drained: no HSDir shows it, and no visitor is connected\n",
    )
    assert daemon.asked == [DrainRequest(node=C)]


@pytest.mark.parametrize(
    ("visitors", "still"),
    [
        (1, "1 visitor still connected"),
        (2, "2 visitors still connected"),
        (None, "it does not say how many visitors are connected"),
    ],
)
async def test_when_the_grace_has_passed_it_says_how_many_are_left(
    daemon: Daemon, visitors: int | None, still: str
) -> None:
    daemon.document["nodes"][2]["visitors"] = visitors
    result = await daemon.run("drain", "c", "--wait", "--grace", "0.3s")
    assert (result.exit_code, result.output) == (
        0,
        f"c is drained: no HSDir shows it; after 0.3 s {still}\n",
    )


async def test_hsdirs_that_still_show_it_after_the_grace_are_an_error(daemon: Daemon) -> None:
    daemon.document["services"][0]["published"] = False
    result = await daemon.run("drain", "c", "--wait", "--grace", "0.1")
    assert result.exit_code == 1
    assert result.output == (
        "rbcluster: c is drained, but after 0.1 s not every HSDir has the new descriptor: "
        "see rbcluster status\n"
    )


async def test_daemon_that_goes_away_meanwhile_is_waited_for(daemon: Daemon) -> None:
    def fail_once(look: int) -> None:
        if look == 1:
            raise ZeroDivisionError

    daemon.before_status = fail_once
    result = await daemon.run("drain", "c", "--wait")
    assert "no visitor is connected" in result.output


async def test_daemon_that_stays_away_is_told_when_the_grace_has_passed(daemon: Daemon) -> None:
    def fail(_look: int) -> None:
        raise ZeroDivisionError

    daemon.before_status = fail
    result = await daemon.run("drain", "c", "--wait", "--grace", "0.3")
    assert result.exit_code == 1
    assert "c is drained, but how far is not known: what answers at" in result.output


async def test_with_nobody_left_there_is_nothing_to_wait_for(daemon: Daemon) -> None:
    daemon.left = 0
    daemon.document["services"][0]["published"] = False
    result = await daemon.run("drain", "c", "--wait", "--force")
    assert (result.exit_code, result.output) == (
        0,
        "c is drained; no node is left on show: HSDirs keep what they have\n",
    )


async def test_node_is_put_back(daemon: Daemon) -> None:
    result = await daemon.run("undrain", "c")
    assert (result.exit_code, result.output) == (
        0,
        "c is no longer drained: its introduction points are being put back\n",
    )
    assert daemon.asked == [UndrainRequest(node=C)]


@pytest.mark.parametrize(
    ("args", "for_s", "said"),
    [
        (("on",), 1_800, "maintenance is on for 30 min: silent nodes stay on show\n"),
        (("on", "--for", "90s"), 90, "maintenance is on for 90 s: silent nodes stay on show\n"),
        (("on", "--for", "24h"), 86_400, "maintenance is on for 24 h: silent nodes stay on show\n"),
        (("off",), None, "maintenance is off: silent nodes are taken off the descriptors\n"),
    ],
)
async def test_maintenance_has_an_end(
    daemon: Daemon, args: tuple[str, ...], for_s: float | None, said: str
) -> None:
    result = await daemon.run("maintenance", *args)
    assert (result.exit_code, result.output) == (0, said)
    assert daemon.asked == [MaintenanceRequest(for_s=for_s)]


@pytest.mark.parametrize(
    ("span", "complaint"),
    [
        ("25h", "give more than 0s and at most 24h"),
        ("0", "give more than 0s and at most 24h"),
        ("soon", "'soon' is no span of time: write 90s, 15m or 2h"),
        ("-5m", "'-5m' is no span of time"),
    ],
)
async def test_maintenance_without_a_sensible_end_is_refused(
    daemon: Daemon, span: str, complaint: str
) -> None:
    result = await daemon.run("maintenance", "on", "--for", span)
    assert (result.exit_code, daemon.asked) == (2, [])
    assert complaint in result.output
