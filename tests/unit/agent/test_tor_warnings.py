"""A tor's warnings reach the log once they last: a tor that starts has some, and they pass."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from tests.unit.agent.scenes import in_world
from tests.unit.agent.world import CYD, World

NO_CONSENSUS = "tor has no consensus yet"


@pytest.mark.parametrize(("seconds", "num_logged"), [(5, 0), (60, 1)])
def test_warning_of_tor_is_logged_once_it_has_lasted(
    seconds: int, num_logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        tor = world.tors[CYD]
        tor.status = replace(tor.status, warnings=(NO_CONSENSUS,))
        await asyncio.sleep(seconds)
        tor.status = replace(tor.status, warnings=())
        await asyncio.sleep(2)

    in_world(scenario)
    lines = [(r.levelno, r.getMessage()) for r in caplog.records if NO_CONSENSUS in r.getMessage()]
    assert lines == [(logging.WARNING, f"tor: {NO_CONSENSUS}")] * num_logged
