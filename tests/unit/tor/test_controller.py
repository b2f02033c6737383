"""The controller against a control port that misbehaves, and one that tells a story."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from rbcluster.errors import TorError
from rbcluster.tor.controller import TorController
from rbcluster.tor.descriptor_fetch import FetchOutcome
from rbcluster.tor.descriptor_upload import UploadOutcome
from rbcluster.tor.settings import ServiceSettings, TorSettings
from tests.shared.watched import Watched, running_controller
from tests.unit.tor.fake_control_port import (
    ADDRESS,
    DESCRIPTOR_KEY,
    HSDIR,
    PERIOD,
    VALID_AFTER,
    FakeControlPort,
    make_document,
    options,
    protocolinfo,
    relay,
    single,
)

pytestmark = pytest.mark.virtual_time


async def test_a_tor_that_is_well_gives_points_and_consensus(watched: Watched) -> None:
    await watched.until(lambda: bool(watched.relays))
    assert watched.relays == (relay(1), relay(2), relay(3))
    found = watched.tor.intro_points(ADDRESS)
    assert found is not None
    assert found.period == PERIOD
    assert watched.tor.consensus is not None
    assert watched.tor.consensus.valid_after == VALID_AFTER
    await watched.until(lambda: watched.tor.status.bootstrapped == 100)
    assert watched.tor.status.version == "0.4.8.1"
    assert watched.tor.status.is_usable
    assert watched.tor.status.warnings == ()


async def test_a_tor_without_consensus_says_so_and_gives_no_points(
    port: FakeControlPort, watched: Watched
) -> None:
    key = "dir/status-vote/current/consensus-microdesc"
    port.answers[f"GETINFO {key}"] = single("Could not open cached consensus", 551)
    await watched.until(lambda: bool(watched.tor.status.warnings))
    (warning,) = watched.tor.status.warnings
    assert "tor has no consensus yet" in warning
    assert (watched.tor.consensus, watched.relays) == (None, None)


async def test_a_tor_that_hangs_is_noticed_and_comes_back(
    port: FakeControlPort, watched: Watched
) -> None:
    await watched.until(lambda: bool(watched.relays))
    port.hangs = True
    loop = asyncio.get_running_loop()
    hung_at = loop.time()
    await watched.fault("did not answer GETINFO within 2 s")
    assert loop.time() - hung_at < 10
    assert not watched.tor.status.connected
    assert watched.relays is None
    port.hangs = False
    await watched.until(lambda: bool(watched.relays))


async def test_a_tor_that_is_slow_but_talks_does_not_hang(
    port: FakeControlPort, watched: Watched
) -> None:
    await watched.until(lambda: bool(watched.relays))
    port.hangs = True
    for times in (2, 3):
        await port.asked("GETINFO status/bootstrap-phase", times=times)
        port.send("CIRC 99 LAUNCHED")
    await port.asked("GETINFO status/bootstrap-phase", times=4)
    assert watched.tor.status.connected
    assert port.num_connections == 1


async def test_an_upload_in_flight_ends_with_the_connection(
    port: FakeControlPort, watched: Watched
) -> None:
    port.answers["+HSPOST"] = single("OK")
    await watched.until(lambda: watched.tor.status.is_usable)
    uploading = asyncio.create_task(watched.tor.upload(ADDRESS, make_document(1), HSDIR))
    await port.asked("+HSPOST")
    await port.hang_up()
    assert (await uploading).outcome is UploadOutcome.NO_ANSWER
    await watched.until(lambda: watched.tor.status.is_usable)
    assert port.num_connections == 2


async def test_uploads_and_fetches_go_through_tor(port: FakeControlPort, watched: Watched) -> None:
    port.answers |= {"+HSPOST": single("OK"), "HSFETCH": single("OK")}
    await watched.until(lambda: watched.tor.status.is_usable)
    uploading = asyncio.create_task(watched.tor.upload(ADDRESS, make_document(1), HSDIR))
    await port.asked("+HSPOST")
    port.send(f"HS_DESC UPLOADED {ADDRESS.label} UNKNOWN ${HSDIR}~nick")
    assert (await uploading).outcome is UploadOutcome.UPLOADED
    fetching = asyncio.create_task(watched.tor.fetch(ADDRESS, HSDIR))
    await port.asked("HSFETCH")
    port.send(f"HS_DESC FAILED {ADDRESS.label} NO_AUTH ${HSDIR}~nick key REASON=NOT_FOUND")
    assert (await fetching).outcome is FetchOutcome.NOT_FOUND


async def test_without_tor_nothing_is_sent(settings: TorSettings, service: ServiceSettings) -> None:
    async with running_controller(settings, service) as watched:
        fault = await watched.fault("cannot connect to control socket")
        assert (await watched.tor.upload(ADDRESS, b"", HSDIR)).outcome is UploadOutcome.NOT_SENT
        fetched = await watched.tor.fetch(ADDRESS, HSDIR)
        assert (fetched.outcome, fetched.detail) == (FetchOutcome.NO_ANSWER, fault)


@pytest.mark.parametrize(
    "peer",
    [
        ("AUTHENTICATE", single("Authentication failed", 515), "refused authentication"),
        ("PROTOCOLINFO", protocolinfo(version="0.4.5.1"), "rbcluster needs 0.4.6 or newer"),
        ("PROTOCOLINFO", b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no Tor control port"),
        ("PROTOCOLINFO", b"x" * 70_000, "line of more than 65536 bytes"),
        ("GETCONF", single("Unrecognized configuration key", 552), "lacks an option"),
        ("SETEVENTS", single("Unrecognized event", 552), "refused SETEVENTS"),
    ],
)
async def test_a_bad_peer_is_one_sentence_logged_once_and_tried_again(
    port: FakeControlPort,
    settings: TorSettings,
    service: ServiceSettings,
    caplog: pytest.LogCaptureFixture,
    peer: tuple[str, bytes, str],
) -> None:
    request_line, answer, fault = peer
    port.answers |= {"GETCONF": options(service), request_line: answer}
    async with running_controller(settings, service) as watched:
        sentence = await watched.fault(fault)
        await port.asked("PROTOCOLINFO", times=3)
    assert "\n" not in sentence
    assert not watched.tor.status.connected
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [f"tor: {sentence}"]


async def test_a_port_that_closes_at_once_is_one_sentence(
    directory: Path, settings: TorSettings, service: ServiceSettings
) -> None:
    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(close, directory / "control")
    async with running_controller(settings, service) as watched:
        await watched.fault(f"control socket {directory}/control: ")
    server.close()


async def test_nothing_is_announced_twice(port: FakeControlPort, watched: Watched) -> None:
    await watched.until(lambda: bool(watched.relays))
    await watched.until(lambda: watched.tor.status.bootstrapped == 100)
    before = watched.num_changes
    reads = sum(line.startswith(f"GETINFO {DESCRIPTOR_KEY}") for line in port.requests)
    port.send(f"HS_DESC CREATED {ADDRESS.label} UNKNOWN UNKNOWN key")
    await port.asked(f"GETINFO {DESCRIPTOR_KEY}", times=reads + 2)
    assert watched.num_changes == before


async def test_a_bug_ends_the_controller_instead_of_being_retried(
    port: FakeControlPort, settings: TorSettings, service: ServiceSettings
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    port.answers["GETCONF"] = options(service)
    tor = TorController(settings, (service,), fail)
    with pytest.raises((ZeroDivisionError, ExceptionGroup)) as failed:
        await asyncio.wait_for(tor.run(), 20)
    assert not failed.errisinstance(TorError)
    assert port.num_connections == 1


async def test_recovery_is_logged_too(
    port: FakeControlPort,
    settings: TorSettings,
    service: ServiceSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rbcluster")
    port.answers |= {"GETCONF": options(service), "AUTHENTICATE": single("No", 515)}
    async with running_controller(settings, service) as watched:
        await watched.fault("refused authentication")
        port.answers["AUTHENTICATE"] = single("OK")
        await watched.until(lambda: watched.tor.status.is_usable)
    assert "all is well again" in caplog.text


async def test_a_bug_in_a_session_is_logged_and_a_new_session_is_begun(
    port: FakeControlPort,
    settings: TorSettings,
    service: ServiceSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    is_well_again = asyncio.Event()

    def on_change() -> None:
        told.extend(tor.status.faults)
        if port.num_connections == 1 and not tor.status.faults:
            raise ZeroDivisionError
        if tor.status.connected:
            is_well_again.set()

    port.answers["GETCONF"] = options(service)
    tor = TorController(settings, (service,), on_change)
    running = asyncio.create_task(tor.run())
    async with asyncio.timeout(20):
        await is_well_again.wait()
    running.cancel()
    await asyncio.wait([running])
    assert told == ["a bug ended the session with tor, see the log; it is begun anew"]
    assert "ZeroDivisionError" in caplog.text


async def test_visitors_are_counted_once_there_is_a_session(
    port: FakeControlPort, watched: Watched
) -> None:
    tor = watched.tor
    assert tor.num_visitors is None

    async def reaches(num: int) -> None:
        async with asyncio.timeout(20):
            while tor.num_visitors != num:  # noqa: ASYNC110 - visitors come and go unannounced
                await asyncio.sleep(0.01)

    joined = f"PURPOSE=HS_SERVICE_REND HS_STATE=HSSR_JOINED REND_QUERY={ADDRESS.label}"
    await reaches(0)
    port.send(f"CIRC_MINOR 70 PURPOSE_CHANGED {joined}")
    await reaches(1)
    port.send(f"CIRC 70 CLOSED {joined} REASON=FINISHED")
    await reaches(0)
