"""An instance's points as clients find them, through a port that plays tor: 15:00, after the turn.

The snapshot is of the period before (relays 1 to 3); HSDirs hold the one in force (4 to 6).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.fetch_watcher import CONFIRM_AFTER_S, REFRESH_AFTER_S
from rbcluster.tor.intro_fetch import FETCH_TIMEOUT_S
from rbcluster.tor.settings import Identity, ServiceSettings, TorSettings
from tests.shared.watched import Watched, running_controller
from tests.unit.tor.fake_control_port import (
    ADDRESS,
    PERIOD,
    FakeControlPort,
    block,
    circuit_line,
    make_consensus,
    make_document,
    options,
    relay,
)

pytestmark = pytest.mark.virtual_time

OWN_KEY = IdentityKeypair.from_seed(bytes([5]) * 32)
OWN = OnionAddress(OWN_KEY.public)
SNAPSHOT = f"hs/service/desc/id/{OWN.label}"
BEFORE, NOW = PERIOD.previous(), PERIOD
_AT_ONCE_S = 0.5


def _relays(*numbers: int) -> tuple[Fingerprint, ...]:
    return tuple(map(relay, numbers))


def _document(*relays: int, period: TimePeriod = NOW, revision: int = 7) -> bytes:
    return make_document(*relays, identity=OWN_KEY, period=period, revision=revision)


def _content(document: bytes, hsdir: int) -> bytes:
    lines = document.replace(b"\n", b"\r\n")
    return b"650+HS_DESC_CONTENT %b key $%b~nick\r\n%b.\r\n650 OK\r\n" % (
        OWN.label.encode(),
        str(relay(hsdir)).encode(),
        lines,
    )


class Fetched:
    """A controller of an instance, and HSDirs that a test gives descriptors to."""

    def __init__(self, port: FakeControlPort, watched: Watched) -> None:
        self.port = port
        self.watched = watched

    def hold(self, document: bytes | None, *hsdirs: int) -> None:
        """Have these HSDirs (1 and 2 are all) answer with a document, or that they have none."""
        for number in hsdirs or (1, 2):
            ask = f"HSFETCH {OWN.label} SERVER={relay(number)}"
            none = f"650 HS_DESC FAILED {OWN.label} UNKNOWN ${relay(number)} REASON=NOT_FOUND\r\n"
            answer = none.encode() if document is None else _content(document, number)
            self.port.answers[ask] = b"250 OK\r\n" + answer

    def silence(self) -> None:
        """Have no HSDir answer."""
        for number in (1, 2):
            self.port.answers[f"HSFETCH {OWN.label} SERVER={relay(number)}"] = b"250 OK\r\n"

    def upload(self, *hsdirs: int, period: TimePeriod = NOW) -> None:
        """Tell that tor has uploaded its descriptor of a period to these HSDirs."""
        key = derive_blinded_key(OWN.identity, period)
        for number in hsdirs:
            to = f"{OWN.label} UNKNOWN ${relay(number)}"
            self.port.send(f"HS_DESC UPLOAD {to} {_base64(key.raw)} HSDIR_INDEX=00")
        for number in hsdirs:
            self.port.send(f"HS_DESC UPLOADED {OWN.label} UNKNOWN ${relay(number)}")

    @property
    def num_fetches(self) -> int:
        return sum(line.startswith("HSFETCH") for line in self.port.requests)

    async def shows(self, *relays: int, limit_s: float = 20) -> None:
        await self.watched.until(lambda: self.watched.relays == _relays(*relays), limit_s)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


@pytest.fixture
async def fetched(
    port: FakeControlPort, settings: TorSettings, service: ServiceSettings
) -> AsyncIterator[Fetched]:
    """An instance whose six circuits stand."""
    (service.directory / "hostname").write_text(f"{OWN}\n")
    circuits = "".join(circuit_line(n, 9, n, address=OWN) + "\n" for n in range(1, 7))
    port.answers |= {
        "GETCONF": options(service, publish=1),
        "GETINFO circuit-status": block("circuit-status", circuits.encode()),
        f"GETINFO {SNAPSHOT}": block(SNAPSHOT, _document(1, 2, 3, period=BEFORE)),
    }
    instance = replace(service, identity=Identity.INSTANCE)
    async with running_controller(settings, instance) as watched:
        fetched = Fetched(port, watched)
        fetched.hold(_document(4, 5, 6))
        yield fetched


async def test_points_are_those_that_clients_find_and_none_else_is_shown_before(
    fetched: Fetched,
) -> None:
    seen = set()
    async with asyncio.timeout(20):
        while fetched.watched.relays != _relays(4, 5, 6):
            seen.add(fetched.watched.relays)
            await fetched.watched.change()
    assert seen == {None}


async def test_descriptor_names_the_nodes_own_address(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    found = fetched.watched.tor.intro_points(ADDRESS)
    assert found is not None
    assert (found.origin, found.period) == (OWN, NOW)


async def test_where_no_hsdir_has_it_the_snapshot_has_to_do_until_one_has(
    fetched: Fetched,
) -> None:
    fetched.hold(None)
    await fetched.shows(1, 2, 3)
    fetched.hold(_document(4, 5, 6), 2)
    await fetched.shows(4, 5, 6)


async def test_node_that_starts_shows_no_older_points_while_an_hsdir_is_being_asked(
    fetched: Fetched,
) -> None:
    fetched.silence()
    await fetched.port.asked("HSFETCH")
    await asyncio.sleep(5)  # the snapshot and the circuits have long been read
    assert fetched.watched.relays is None
    for number in (1, 2):
        fetched.port.send(_content(_document(4, 5, 6), number))
    await fetched.shows(4, 5, 6, limit_s=_AT_ONCE_S)


async def test_silent_hsdirs_are_waited_for_twice(fetched: Fetched) -> None:
    fetched.silence()
    await fetched.port.asked("HSFETCH")
    await fetched.shows(1, 2, 3, limit_s=2 * FETCH_TIMEOUT_S + 2)


async def test_fetch_that_a_lost_connection_broke_off_is_begun_anew(fetched: Fetched) -> None:
    fetched.silence()
    await fetched.port.asked("HSFETCH")
    fetched.hold(_document(4, 5, 6))
    await fetched.port.hang_up()
    await fetched.shows(4, 5, 6)


async def test_another_hsdir_is_asked_when_one_has_none(fetched: Fetched) -> None:
    fetched.hold(None, 1)
    await fetched.shows(4, 5, 6)


async def test_upload_of_a_newer_one_is_followed_at_once(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    await asyncio.sleep(10)
    fetched.hold(_document(4, 5, revision=8))
    fetched.upload(1, 2)
    await fetched.shows(4, 5, limit_s=_AT_ONCE_S)


async def test_one_upload_costs_two_fetches_and_quiet_hours_few(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    await asyncio.sleep(10)
    before = fetched.num_fetches
    fetched.upload(1, 2)
    await asyncio.sleep(2 * CONFIRM_AFTER_S)
    assert fetched.num_fetches == before + 2
    await asyncio.sleep(REFRESH_AFTER_S)
    assert fetched.num_fetches <= before + 2 + 2


async def test_upload_of_the_other_descriptor_is_no_news(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    await asyncio.sleep(10)
    before = fetched.num_fetches
    fetched.upload(1, 2, period=BEFORE)
    await asyncio.sleep(10)
    assert fetched.num_fetches == before


@pytest.mark.parametrize(
    "document",
    [
        _document(1, 2, revision=6),
        _document(1, 2, period=BEFORE, revision=9),
        make_document(1, 2, revision=9),
        _document(1, 2, revision=9)[:-40] + b"\n",
    ],
    ids=["lower revision", "earlier period", "another address", "cut"],
)
async def test_older_or_foreign_one_changes_nothing(fetched: Fetched, document: bytes) -> None:
    await fetched.shows(4, 5, 6)
    fetched.hold(document)
    before = fetched.num_fetches
    fetched.upload(1, 2)
    await asyncio.sleep(10)
    assert fetched.num_fetches > before
    assert fetched.watched.relays == _relays(4, 5, 6)


async def test_health_comes_from_circuits_whatever_hsdirs_serve(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    fetched.port.send("CIRC " + circuit_line(5, 9, 5, status="CLOSED", address=OWN))
    await fetched.shows(4, 6)
    for n in (4, 6):  # its first descriptor's circuits stand
        fetched.port.send("CIRC " + circuit_line(n, 9, n, status="CLOSED", address=OWN))
    await fetched.shows(1, 2, 3)
    for n in (1, 2, 3):
        fetched.port.send("CIRC " + circuit_line(n, 9, n, status="CLOSED", address=OWN))
    await fetched.watched.until(lambda: fetched.watched.relays == (), _AT_ONCE_S)


async def test_circuit_that_is_back_within_three_seconds_changes_nothing(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    await asyncio.sleep(10)
    told = fetched.watched.num_changes
    fetched.port.send("CIRC " + circuit_line(5, 9, 5, status="CLOSED", address=OWN))
    await asyncio.sleep(2.5)
    fetched.port.send("CIRC_MINOR " + circuit_line(15, 9, 5, address=OWN))
    await asyncio.sleep(10)
    assert fetched.watched.num_changes == told


async def test_at_the_shared_random_value_nothing_on_show_changes(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    await asyncio.sleep(10)
    told = fetched.watched.num_changes
    port = fetched.port
    port.answers[f"GETINFO {SNAPSHOT}"] = block(SNAPSHOT, _document(4, 5, 6, revision=8))
    port.send(f"HS_DESC CREATED {OWN.label} UNKNOWN UNKNOWN key")
    for n in (1, 2, 3):
        port.send("CIRC " + circuit_line(n, 9, n, status="CLOSED", address=OWN))
    await asyncio.sleep(10)
    assert fetched.watched.num_changes == told
    new_consensus(port, "2026-03-02 00:00:00")
    await asyncio.sleep(10)
    assert fetched.watched.relays == _relays(4, 5, 6)
    before = fetched.num_fetches
    await asyncio.sleep(REFRESH_AFTER_S + CONFIRM_AFTER_S)
    assert fetched.num_fetches == before  # the snapshot shows what clients see


async def test_turn_of_the_period_brings_the_new_points_while_the_old_live_on(
    fetched: Fetched,
) -> None:
    await fetched.shows(4, 5, 6)
    port = fetched.port
    port.answers[f"GETINFO {SNAPSHOT}"] = block(SNAPSHOT, _document(4, 5, 6, revision=8))
    port.send(f"HS_DESC CREATED {OWN.label} UNKNOWN UNKNOWN key")
    new_consensus(port, "2026-03-02 11:00:00")
    await asyncio.sleep(10)
    fetched.hold(_document(1, 2, period=NOW.next(), revision=1))
    new_consensus(port, "2026-03-02 12:00:00")
    await fetched.shows(1, 2, limit_s=5)


async def test_descriptor_that_a_peer_fetched_shows_the_new_points_before_this_tor_turns(
    fetched: Fetched,
) -> None:
    await fetched.shows(4, 5, 6)
    port, tor = fetched.port, fetched.watched.tor
    port.answers[f"GETINFO {SNAPSHOT}"] = block(SNAPSHOT, _document(4, 5, 6, revision=8))
    port.send(f"HS_DESC CREATED {OWN.label} UNKNOWN UNKNOWN key")
    new_consensus(port, "2026-03-02 11:00:00")
    await asyncio.sleep(10)
    ahead = _document(1, 2, period=NOW.next(), revision=1)
    assert not tor.offer(OWN, ahead)  # no service of this node's
    assert not tor.offer(ADDRESS, make_document(1, 2, period=NOW.next()))
    assert fetched.watched.relays == _relays(4, 5, 6)
    assert tor.offer(ADDRESS, ahead)
    assert fetched.watched.relays == _relays(1, 2)


async def test_control_connection_that_comes_back_shows_no_older_points(fetched: Fetched) -> None:
    await fetched.shows(4, 5, 6)
    fetched.hold(None)
    await fetched.port.hang_up()
    seen = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while True:
                await fetched.watched.change()
                seen.add(fetched.watched.relays)
    assert seen == {None, _relays(4, 5, 6)}


async def test_instance_without_a_hostname_has_a_fault_until_tor_has_written_it(
    fetched: Fetched, service: ServiceSettings
) -> None:
    await fetched.shows(4, 5, 6)
    (service.directory / "hostname").unlink()
    fetched.port.send(b"650-CONF_CHANGED\r\n650 OK\r\n")
    await fetched.watched.fault("not known under which address this node serves")
    assert fetched.watched.relays == ()
    (service.directory / "hostname").write_text(str(OWN))
    fetched.port.send(b"650-CONF_CHANGED\r\n650 OK\r\n")
    await fetched.shows(4, 5, 6)


def new_consensus(port: FakeControlPort, valid_after: str) -> None:
    """Tell of a consensus of another hour, perhaps of another day."""
    date, _, hour = valid_after.partition(" ")
    consensus = make_consensus(1, 2, valid_after=hour, date=date)
    port.set_consensus(consensus, 1, 2)
    port.send(b"650+NEWCONSENSUS\r\n" + consensus.replace(b"\n", b"\r\n") + b".\r\n650 OK\r\n")
