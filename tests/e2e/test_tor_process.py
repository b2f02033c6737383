"""A single tor of the lab, without any network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rbcluster.errors import ControlPortError, TorError
from rbcluster.lab.tor_process import TorProcess

_NO_NETWORK = ("SocksPort 0", "DisableNetwork 1")
_LIMIT_S = 30


async def test_a_started_tor_logs_and_answers_until_it_is_killed(tmp_path: Path) -> None:
    tor = TorProcess(tmp_path, _NO_NETWORK)
    tor.start()
    try:
        await tor.wait_for_log("Bootstrapped 0%", _LIMIT_S)
        answered = int(await tor.getinfo("process/pid"))
        pids = [tor.pid]
        tor.start()
        pids.append(tor.pid)
    finally:
        tor.kill()
    tor.kill()

    assert [*pids, tor.pid] == [answered, answered, None]
    with pytest.raises(ProcessLookupError):
        os.kill(answered, 0)


async def test_a_tor_that_refuses_its_torrc_is_reported_with_its_own_words(tmp_path: Path) -> None:
    tor = TorProcess(tmp_path, [*_NO_NETWORK, "NoSuchOption 1"])
    tor.start()

    with pytest.raises(TorError, match="NoSuchOption"):
        await tor.wait_for_log("Bootstrapped", _LIMIT_S)
    tor.kill()


async def test_what_tor_does_not_log_in_time_is_reported_with_its_last_lines(
    tmp_path: Path,
) -> None:
    tor = TorProcess(tmp_path, _NO_NETWORK)
    tor.start()
    try:
        await tor.wait_for_log("Bootstrapped 0%", _LIMIT_S)
        with pytest.raises(TorError, match=r"'pigs fly' .* within 0\.01 s: .*Bootstrapped 0%"):
            await tor.wait_for_log("pigs fly", 0.01)
    finally:
        tor.kill()


async def test_a_tor_that_does_not_run_answers_nothing(tmp_path: Path) -> None:
    with pytest.raises(ControlPortError):
        await TorProcess(tmp_path, _NO_NETWORK).getinfo("version")
