"""A tor of our own, started, found again, restarted, ended: it takes the binary, but no network."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.errors import TorError, TorOptionError
from rbcluster.tor.authentication import authenticate
from rbcluster.tor.connection import open_connection
from rbcluster.tor.framing import Event
from rbcluster.tor.key_directory import write_key_directory
from rbcluster.tor.managed_tor import ManagedTor
from rbcluster.tor.options import find_faults, read_options
from rbcluster.tor.settings import ServiceSettings, TorMode, TorSettings
from tests.unit.tor.fake_control_port import IDENTITY

pytestmark = pytest.mark.tor

_PASSWORD = 'a "quoted" \\ one'


@pytest.fixture
def settings(directory: Path) -> TorSettings:
    return TorSettings(
        mode=TorMode.MANAGED, tor_dir=directory / "da ta" / "tor", extra_lines=("DisableNetwork 1",)
    )


@pytest.fixture
async def tor(settings: TorSettings, service: ServiceSettings) -> AsyncIterator[ManagedTor]:
    write_key_directory(service.directory, IDENTITY)
    managed = ManagedTor(settings, (service,))
    try:
        yield managed
    finally:
        await managed.stop()
        assert managed.pid is None


def _fake_binary(directory: Path, script: str) -> str:
    path = directory / "fake-tor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


async def test_it_runs_in_a_session_of_its_own_with_the_right_options(
    tor: ManagedTor, settings: TorSettings, service: ServiceSettings
) -> None:
    await tor.ensure_running()
    assert tor.pid is not None
    assert os.getsid(tor.pid) != os.getsid(0)
    async with open_connection(settings.endpoint, print) as connection:
        await authenticate(connection, None)
        assert find_faults(await read_options(connection), (service,)) == ()
        assert await connection.getinfo("process/pid") == str(tor.pid).encode()


async def test_it_is_found_again_and_left_alone(
    tor: ManagedTor, settings: TorSettings, service: ServiceSettings
) -> None:
    await tor.ensure_running()
    pid = tor.pid
    again = ManagedTor(settings, (service,))
    await again.ensure_running()
    assert again.pid == pid


async def test_it_is_started_again_when_it_has_died(tor: ManagedTor) -> None:
    await tor.ensure_running()
    first = tor.pid
    assert first is not None
    await tor.stop()
    assert tor.pid is None
    await tor.ensure_running()
    assert tor.pid not in {None, first}


async def test_a_changed_torrc_means_a_restart(
    tor: ManagedTor, settings: TorSettings, service: ServiceSettings
) -> None:
    await tor.ensure_running()
    first = tor.pid
    changed = ManagedTor(settings, (replace(service, ports=("81 127.0.0.1:8081",)),))
    await changed.ensure_running()
    assert changed.pid not in {None, first}


async def test_a_changed_ob_config_means_a_restart(
    tor: ManagedTor, service: ServiceSettings
) -> None:
    await tor.ensure_running()
    first = tor.pid
    (service.directory / "ob_config").write_text("")
    await tor.ensure_running()
    assert tor.pid not in {None, first}
    assert (service.directory / "ob_config").read_text() == service.ob_config


async def test_a_stopped_tor_can_be_ended(tor: ManagedTor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbcluster.tor.managed_tor._STOP_TIMEOUT_S", 0.2)
    await tor.ensure_running()
    assert tor.pid is not None
    os.kill(tor.pid, signal.SIGSTOP)
    await tor.stop()
    assert tor.pid is None


async def test_a_pid_that_is_somebody_elses_by_now_is_not_ours(
    tor: ManagedTor, settings: TorSettings
) -> None:
    settings.tor_dir.mkdir(parents=True)
    (settings.tor_dir / "pid").write_text(f"{os.getpid()}\n")
    assert tor.pid is None
    await tor.ensure_running()
    assert tor.pid not in {None, os.getpid()}


async def test_a_password_is_taken(
    tor: ManagedTor, settings: TorSettings, service: ServiceSettings, directory: Path
) -> None:
    assert tor.pid is None
    hashing = await asyncio.create_subprocess_exec(
        "tor", "--quiet", "--hash-password", _PASSWORD, stdout=asyncio.subprocess.PIPE
    )
    hashed = (await hashing.communicate())[0].decode().split()[-1]
    lines = (*settings.extra_lines, f"HashedControlPassword {hashed}")
    secured = ManagedTor(replace(settings, extra_lines=lines), (service,))
    await secured.ensure_running()
    (directory / "da ta/tor/cookie").unlink()  # so that the cookie can't be what lets us in
    async with open_connection(settings.endpoint, print) as connection:
        assert await authenticate(connection, _PASSWORD)


async def test_a_reload_keeps_the_options_and_ends_what_setconf_gave(
    tor: ManagedTor, settings: TorSettings, service: ServiceSettings
) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    await tor.ensure_running()
    async with open_connection(settings.endpoint, events.put_nowait) as connection:
        await authenticate(connection, None)
        await connection.request("SETEVENTS CONF_CHANGED")
        await connection.request("SETCONF PublishHidServDescriptors=1")
        assert (await asyncio.wait_for(events.get(), 10)).kind == "CONF_CHANGED"
        (fault,) = find_faults(await read_options(connection), (service,))
        assert fault.startswith("PublishHidServDescriptors is 1")
        await connection.request("SIGNAL RELOAD")
        assert (await asyncio.wait_for(events.get(), 10)).kind == "CONF_CHANGED"
        assert find_faults(await read_options(connection), (service,)) == ()


async def test_a_torrc_that_tor_refuses_is_an_error_with_tors_words(
    tor: ManagedTor, settings: TorSettings, service: ServiceSettings
) -> None:
    assert tor.pid is None
    wrong = ManagedTor(replace(settings, extra_lines=("Bogus 1",)), (service,))
    with pytest.raises(TorError, match=r"Unknown option 'Bogus'.*; see .*tor\.log"):
        await wrong.ensure_running()


async def test_a_missing_tor_is_an_error_with_its_remedy(
    settings: TorSettings, service: ServiceSettings
) -> None:
    tor = ManagedTor(replace(settings, binary="/nonexistent/tor"), (service,))
    with pytest.raises(TorError, match=r"No such file.*install tor .*or set tor\.binary"):
        await tor.ensure_running()


@pytest.mark.parametrize(
    "faulty",
    [
        ("echo Tor version 0.4.5.16.", r"runs Tor 0\.4\.5\.16; rbcluster needs 0\.4\.6"),
        ("echo hello", r"does not tell a Tor version; set tor\.binary"),
        ("exit 1", "does not tell a Tor version"),
        ("[ $1 = --version ] && echo Tor version 0.4.8.1.", "did not start.*exit code 1"),
        ("echo Tor version 0.4.8.1.", "tor died as it started"),
    ],
)
async def test_a_binary_that_is_no_fit_tor_is_an_error(
    settings: TorSettings,
    service: ServiceSettings,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    faulty: tuple[str, str],
) -> None:
    script, complaint = faulty
    monkeypatch.setattr("rbcluster.tor.managed_tor._PID_TIMEOUT_S", 0.1)
    binary = _fake_binary(directory, script)
    tor = ManagedTor(replace(settings, binary=binary), (service,))
    with pytest.raises((TorError, TorOptionError), match=complaint):
        await tor.ensure_running()


async def test_a_binary_that_never_returns_is_ended(
    settings: TorSettings,
    service: ServiceSettings,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
) -> None:
    monkeypatch.setattr("rbcluster.tor.managed_tor._START_TIMEOUT_S", 0.1)
    binary = _fake_binary(directory, "exec sleep 1000")
    with pytest.raises(TorError, match=r"did not return within 0\.1 s"):
        await ManagedTor(replace(settings, binary=binary), (service,)).ensure_running()


async def test_a_data_directory_too_deep_for_a_socket_is_an_error(
    settings: TorSettings, service: ServiceSettings
) -> None:
    deep = replace(settings, tor_dir=settings.tor_dir / ("d" * 100))
    with pytest.raises(TorError, match="too long for a socket"):
        await ManagedTor(deep, (service,)).ensure_running()


async def test_a_data_directory_that_can_not_be_made_is_an_error(
    settings: TorSettings, service: ServiceSettings
) -> None:
    settings.tor_dir.parent.write_text("a file")
    with pytest.raises(TorError, match="can't prepare tor below"):
        await ManagedTor(settings, (service,)).ensure_running()
