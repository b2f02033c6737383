"""A control port that says what a test tells it to, and the values that tests put into it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import (
    ExpandedKeypair,
    IdentityKeypair,
    IntroAuthKey,
    IntroEncKey,
    RelayNtorKey,
)
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import HsTimes, TimePeriod
from rbcluster.tor.settings import ServiceSettings

IDENTITY = IdentityKeypair.from_seed(bytes(range(32)))
ADDRESS = OnionAddress(IDENTITY.public)
TIMES = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))
VALID_AFTER = datetime(2026, 3, 1, 15, tzinfo=UTC)
PERIOD = TimePeriod.containing(VALID_AFTER, TIMES)
HSDIR = Fingerprint(bytes([0xD1] * 20))
DESCRIPTOR_KEY = f"hs/service/desc/id/{ADDRESS.label}"


def make_microdescriptor(number: int) -> bytes:
    return b"onion-key\nntor-onion-key x\nid ed25519 " + _base64(bytes([number] * 32)) + b"\n"


def make_consensus(*relays: int, valid_after: str = "15:00:00", date: str = "2026-03-01") -> bytes:
    """A consensus of one hour in which every relay is an HSDir."""
    since = datetime.fromisoformat(f"{date} {valid_after}")
    times = (since, since + timedelta(hours=1), since + timedelta(hours=3))
    entries = b"".join(
        b"r nick " + _base64(relay(number).raw) + b" 2026-03-01 14:00:00 127.0.0.1 9001 0\n"
        b"m " + _base64(hashlib.sha256(make_microdescriptor(number)).digest()) + b"\n"
        b"s HSDir Running Valid\npr HSDir=2\n"
        for number in relays
    )
    return (
        b"network-status-version 3 microdesc\nvalid-after %b\nfresh-until %b\nvalid-until %b\n"
        b"params a=1\n%bdirectory-footer\n" % (*(str(at).encode() for at in times), entries)
    )


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def relay(number: int) -> Fingerprint:
    return Fingerprint(bytes([number] * 20))


def make_point(number: int) -> IntroPoint:
    return IntroPoint(
        link_specifiers=(
            LinkSpecifier(LinkType.IPV4, bytes([127, 0, 0, number, 0x23, 0x8C])),
            LinkSpecifier(LinkType.LEGACY_ID, relay(number).raw),
            LinkSpecifier(LinkType.ED25519_ID, bytes([number] * 32)),
        ),
        onion_key=RelayNtorKey(bytes([9, number] * 16)),
        auth_key=IntroAuthKey(ExpandedKeypair.from_seed(bytes([number] * 32)).public_bytes()),
        enc_key=IntroEncKey(bytes([7, number] * 16)),
    )


def make_document(
    *relays: int,
    identity: IdentityKeypair = IDENTITY,
    period: TimePeriod = PERIOD,
    revision: int = 7,
) -> bytes:
    content = DescriptorContent(
        identity=identity.public,
        period=period,
        keypair=derive_blinded_keypair(identity, period),
        revision=RevisionCounter(revision),
        points=tuple(make_point(number) for number in relays),
        traits=ServiceTraits(),
    )
    return build_descriptor(content, VALID_AFTER, bytes)


def circuit_line(
    circuit: int,
    *relays: int,
    status: str = "BUILT",
    state: str = "HSSI_ESTABLISHED",
    address: OnionAddress = ADDRESS,
) -> str:
    path = ",".join(f"${relay(number)}~relay{number}" for number in relays)
    return (
        f"{circuit} {status} {path} BUILD_FLAGS=IS_INTERNAL,NEED_CAPACITY PURPOSE=HS_SERVICE_INTRO "
        f"HS_STATE={state} REND_QUERY={address.label} TIME_CREATED=2026-03-01T15:00:00.000001"
    )


def single(text: str, code: int = 250) -> bytes:
    return f"{code} {text}\r\n".encode()


def value(key: str, text: str) -> bytes:
    return f"250-{key}={text}\r\n250 OK\r\n".encode()


def block(key: str, data: bytes) -> bytes:
    return f"250+{key}=\r\n".encode() + data.replace(b"\n", b"\r\n") + b".\r\n250 OK\r\n"


def protocolinfo(methods: str = "NULL", version: str = "0.4.8.1") -> bytes:
    return (
        f'250-PROTOCOLINFO 1\r\n250-AUTH METHODS={methods}\r\n250-VERSION Tor="{version}"\r\n'
        "250 OK\r\n"
    ).encode()


def options(service: ServiceSettings, *, publish: int = 0, instance: int = 1) -> bytes:
    return (
        f"250-PublishHidServDescriptors={publish}\r\n250-TestingTorNetwork=0\r\n"
        f"250-HiddenServiceDir={service.directory}\r\n250-HiddenServicePort=80 127.0.0.1:8080\r\n"
        f"250 HiddenServiceOnionBalanceInstance={instance}\r\n"
    ).encode()


class FakeControlPort:
    """Answers each request by its longest known beginning; None is an answer that never comes.

    As tor, it tells each connection only of the kinds of events that it asked for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes | None] = {
            "PROTOCOLINFO": protocolinfo(),
            "AUTHENTICATE": single("OK"),
            "SETEVENTS": single("OK"),
            "GETINFO status/bootstrap-phase": value(
                "status/bootstrap-phase", 'NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"'
            ),
            "GETINFO circuit-status": value("circuit-status", ""),
            "GETCONF": single("TestingTorNetwork=0"),
            "GETINFO consensus/valid-after": value("consensus/valid-after", "2026-03-01 15:00:00"),
            "": single("Unrecognized", 510),
        }
        self.hangs = False  # answers nothing, as a stopped tor
        self.set_consensus(make_consensus(1, 2), 1, 2)
        self.requests: list[str] = []  # command lines, with data blocks left out
        self.data: list[bytes] = []  # data blocks as they came, dots stuffed
        self.num_connections = 0
        self._news = asyncio.Condition()
        self._wanted: dict[asyncio.StreamWriter, frozenset[str]] = {}  # kinds of events

    @asynccontextmanager
    async def listen(self, path: Path) -> AsyncIterator[FakeControlPort]:
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            yield self
        finally:
            server.close()
            await self.hang_up()

    def set_consensus(self, consensus: bytes, *microdescriptors: int) -> None:
        """Answer with this consensus, and microdescriptors of these relays."""
        key = "dir/status-vote/current/consensus-microdesc"
        self.answers[f"GETINFO {key}"] = block(key, consensus)
        known = b"".join(make_microdescriptor(number) for number in microdescriptors)
        self.answers["GETINFO md/all"] = block("md/all", known)

    async def hang_up(self) -> None:
        for writer in tuple(self._wanted):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def send(self, raw: bytes | str) -> None:
        """Send an event, as one line or as bytes; other bytes go out as they are."""
        data = raw if isinstance(raw, bytes) else f"650 {raw}\r\n".encode()
        event = re.match(rb"650[ +-](\w+)", data)
        for writer, wanted in self._wanted.items():
            if event is None or event[1].decode() in wanted:
                writer.write(data)

    async def asked(self, request: str, times: int = 1) -> None:
        """Wait until a request has come so often."""

        def has_come() -> bool:
            return sum(line.startswith(request) for line in self.requests) >= times

        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(has_come)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self._wanted[writer] = frozenset()
        try:
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                if line.startswith("+"):
                    self.data.append(await reader.readuntil(b"\r\n.\r\n"))
                async with self._news:
                    self.requests.append(line)
                    self._news.notify_all()
                verb, *kinds = line.split(" ")
                if verb == "SETEVENTS":
                    self._wanted[writer] = frozenset(kinds)
                known = max((key for key in self.answers if line.startswith(key)), key=len)
                answer = self.answers[known]
                if answer is not None and not self.hangs:
                    writer.write(answer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            del self._wanted[writer]
            writer.close()
