"""What tor tells of by event is noticed by that event, long before the safety nets of a minute.

The port delivers only what was asked for, so each test fails without its kind of event.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.descriptor_fetch import FetchOutcome
from rbcluster.tor.descriptor_upload import UploadOutcome
from rbcluster.tor.intro_watcher import GRACE_S
from rbcluster.tor.settings import ServiceSettings
from tests.shared.watched import Watched
from tests.unit.tor.fake_control_port import (
    ADDRESS,
    DESCRIPTOR_KEY,
    HSDIR,
    PERIOD,
    FakeControlPort,
    block,
    circuit_line,
    make_consensus,
    make_document,
    options,
    relay,
    value,
)

pytestmark = pytest.mark.virtual_time

_AT_ONCE_S = 0.5
_SOON_S = 2.0  # a new circuit's point is read 1.1 s after it stands
_OPTIONS_CHANGED = b"650-CONF_CHANGED\r\n650-PublishHidServDescriptors=1\r\n650 OK\r\n"
_READINGS = 4  # of a consensus that holds still; no other for a minute


@pytest.fixture
async def settled(port: FakeControlPort, watched: Watched) -> Watched:
    """The controller when all is read, and what is read again soon after a start is, too."""
    await port.asked("GETINFO md/all", times=_READINGS)
    assert watched.relays
    return watched


def _new_consensus(port: FakeControlPort, consensus: bytes) -> None:
    port.set_consensus(consensus, 1, 2)
    port.send(b"650+NEWCONSENSUS\r\n" + consensus.replace(b"\n", b"\r\n") + b".\r\n650 OK\r\n")


async def test_without_any_circuit_there_are_no_points_at_once(
    port: FakeControlPort, settled: Watched
) -> None:
    for n in (1, 2, 3):
        port.send("CIRC " + circuit_line(n, 9, n, status="CLOSED"))
    await settled.until(lambda: settled.relays == (), _AT_ONCE_S)  # no grace, as one point has


async def test_a_point_is_left_out_when_its_circuit_stays_away(
    port: FakeControlPort, settled: Watched
) -> None:
    loop = asyncio.get_running_loop()
    lost_at = loop.time()
    port.send("CIRC " + circuit_line(2, 9, 2, status="CLOSED"))
    await settled.until(lambda: settled.relays == (relay(1), relay(3)))
    assert GRACE_S <= loop.time() - lost_at < GRACE_S + _AT_ONCE_S


async def test_a_new_circuit_brings_its_point(port: FakeControlPort, settled: Watched) -> None:
    port.answers[f"GETINFO {DESCRIPTOR_KEY}"] = block(DESCRIPTOR_KEY, make_document(1, 2, 3, 4))
    port.send("CIRC_MINOR " + circuit_line(4, 9, 4, status="PURPOSE_CHANGED"))
    relays = tuple(relay(n) for n in (1, 2, 3, 4))
    await settled.until(lambda: settled.relays == relays, _SOON_S)


async def test_a_rotation_is_read_at_once(port: FakeControlPort, settled: Watched) -> None:
    port.answers[f"GETINFO {DESCRIPTOR_KEY}"] = block(DESCRIPTOR_KEY, make_document(5))
    port.answers["GETINFO circuit-status"] = value("circuit-status", circuit_line(5, 9, 5))
    port.send("CIRC_MINOR " + circuit_line(5, 9, 5, status="PURPOSE_CHANGED"))
    port.send(f"HS_DESC CREATED {ADDRESS.label} UNKNOWN UNKNOWN key")
    # That is: not by the reading that follows a new circuit.
    await settled.until(lambda: settled.relays == (relay(5),), _AT_ONCE_S)


async def test_wrong_options_withdraw_the_node_until_they_are_right(
    port: FakeControlPort, settled: Watched, service: ServiceSettings
) -> None:
    port.answers["GETCONF"] = options(service, publish=1)
    port.send(_OPTIONS_CHANGED)
    fault = await settled.fault("PublishHidServDescriptors is 1", _AT_ONCE_S)
    assert fault.endswith("set it to 0 in torrc and restart tor")
    assert settled.relays == ()
    assert settled.tor.status.connected
    result = await settled.tor.upload(ADDRESS, make_document(1), HSDIR)
    assert (result.outcome, result.detail) == (UploadOutcome.NOT_SENT, fault)
    port.answers["GETCONF"] = options(service)
    port.send(b"650-CONF_CHANGED\r\n650 OK\r\n")
    await settled.until(lambda: bool(settled.relays))


async def test_directories_are_looked_into_only_when_the_options_are_read(
    port: FakeControlPort, watched: Watched, service: ServiceSettings, directory: Path
) -> None:
    other = directory / "other"
    told = f"250-HiddenServiceDir={other}\r\n".encode() + options(service)
    port.answers["GETCONF"] = told
    port.send(b"650-CONF_CHANGED\r\n650 OK\r\n")
    await watched.until(lambda: bool(watched.tor.status.warnings))
    other.symlink_to(service.directory)
    (warning,) = watched.tor.status.warnings
    assert warning.startswith(f"{other} is in this tor but not in the cluster")
    port.send(b"650-CONF_CHANGED\r\n650 OK\r\n")
    await watched.until(lambda: not watched.tor.status.warnings)


async def test_bootstrap_progress_is_followed(port: FakeControlPort, settled: Watched) -> None:
    port.answers["GETINFO status/bootstrap-phase"] = None
    port.send('STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=75 TAG=enough_dirinfo SUMMARY="Loaded"')
    await settled.until(lambda: settled.tor.status.bootstrapped == 75, _AT_ONCE_S)


async def test_a_descriptor_that_does_not_hold_is_no_source_of_points(
    port: FakeControlPort, settled: Watched
) -> None:
    foreign = make_document(1, identity=IdentityKeypair.from_seed(bytes(32)))
    port.answers[f"GETINFO {DESCRIPTOR_KEY}"] = block(DESCRIPTOR_KEY, foreign)
    port.send(f"HS_DESC CREATED {ADDRESS.label} UNKNOWN UNKNOWN key")
    await settled.until(lambda: settled.relays == ())
    (warning,) = settled.tor.status.warnings
    assert "tor's descriptor does not hold" in warning
    assert settled.tor.status.is_usable


async def test_options_that_change_while_they_are_read_are_read_again(
    port: FakeControlPort, watched: Watched, service: ServiceSettings
) -> None:
    await port.asked("GETCONF")  # and answered: all is well
    port.answers["GETCONF"] = options(service, publish=1)
    port.send(_OPTIONS_CHANGED)
    await watched.fault("PublishHidServDescriptors is 1", _AT_ONCE_S)


async def test_a_new_consensus_is_read_at_once(port: FakeControlPort, settled: Watched) -> None:
    _new_consensus(port, make_consensus(1, 2, valid_after="16:00:00"))

    def is_known() -> bool:
        return settled.tor.consensus is not None and settled.tor.consensus.valid_after.hour == 16

    await settled.until(is_known, _AT_ONCE_S)


async def test_a_new_consensus_has_the_points_verified_against_its_period(
    port: FakeControlPort, watched: Watched
) -> None:
    port.set_consensus(make_consensus(1, 2, valid_after="11:00:00"), 1, 2)
    document = make_document(1, 2, 3, period=PERIOD.next())  # PERIOD begins at 12:00
    port.answers[f"GETINFO {DESCRIPTOR_KEY}"] = block(DESCRIPTOR_KEY, document)
    await port.asked("GETINFO md/all", times=_READINGS)
    (warning,) = watched.tor.status.warnings
    assert "tor's descriptor does not hold" in warning
    _new_consensus(port, make_consensus(1, 2, valid_after="12:00:00"))
    await watched.until(lambda: watched.relays == (relay(1), relay(2), relay(3)), _AT_ONCE_S)


async def test_a_fetched_descriptor_arrives(port: FakeControlPort, watched: Watched) -> None:
    port.answers["HSFETCH"] = b"250 OK\r\n"
    await watched.until(lambda: watched.tor.status.is_usable)
    fetching = asyncio.create_task(watched.tor.fetch(ADDRESS, HSDIR))
    await port.asked("HSFETCH")
    content = f"HS_DESC_CONTENT {ADDRESS.label} key ${HSDIR}~nick"
    port.send(f"650+{content}\r\nhs-descriptor 3\r\n.\r\n650 OK\r\n".encode())
    async with asyncio.timeout(_AT_ONCE_S):
        fetched = await fetching
    assert (fetched.outcome, fetched.document) == (FetchOutcome.FOUND, b"hs-descriptor 3\n")


async def test_what_tor_says_before_its_options_are_known_is_not_announced(
    port: FakeControlPort, watched: Watched
) -> None:
    port.answers["GETCONF"] = None
    await port.asked("GETCONF")
    port.send("STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=75")
    await watched.fault("did not answer GETCONF")
    assert watched.num_changes == 1
