"""A visitor: a client tor that no node controls, which fetches pages of onion services.

Every visit is kept, so that what visitors saw can be told afterwards.

Overview::

    Visitor   start(), visit() -> Visit, visits, fetch_points(), stop()
    Visit     what one visit saw, and how long it took
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rbcluster.endpoint import HostPort
from rbcluster.errors import ControlPortError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.lab.hsdirs import fetch_held
from rbcluster.lab.lifetime import Lifetime
from rbcluster.lab.network import BOOTSTRAPPED, PrivateNetwork
from rbcluster.lab.tor_process import TorProcess
from rbcluster.socks import connect_through

_START_TIMEOUT_S = 60.0
_VISIT_TIMEOUT_S = 60.0
_COMMON_USER = "visitor"  # of visits that may share circuits
_ANY_CLIENT_KEY = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="  # 32 bytes; tor refuses zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one visit saw, and how long it took."""

    started_at: float  # Unix time, seconds
    connected_s: float | None  # from the start until the onion service answered; None: it did not
    seconds: float  # from the start to the last byte, or to the failure
    body: bytes  # what was served; empty if the visit failed
    error: str | None  # why it failed, one line

    @property
    def ok(self) -> bool:
        """Whether the page came, whole."""
        return self.error is None

    @property
    def text(self) -> str:
        """The page as text, less white space at its ends."""
        return self.body.decode(errors="replace").strip()

    @property
    def bytes_per_second(self) -> float:
        """How quickly the page came once the onion service had answered; 0 if it did not."""
        if self.connected_s is None or self.seconds <= self.connected_s:
            return 0.0
        return len(self.body) / (self.seconds - self.connected_s)


class Visitor(Lifetime):
    """A client tor with a SOCKS socket of its own in a private network."""

    def __init__(self, network: PrivateNetwork, name: str = "visitor") -> None:
        directory = network.directory / name
        self._socks = directory / "socks"
        lines = [*network.client_torrc_lines, f"SocksPort unix:{self._socks} ExtendedErrors"]
        self.tor = TorProcess(directory, lines)
        self._visits: list[Visit] = []

    @property
    def visits(self) -> tuple[Visit, ...]:
        """Every visit so far, in the order of their ends."""
        return tuple(self._visits)

    async def start(self) -> None:
        """Start the client and wait until it can build circuits.

        :raises TorError: if it does not get there in a minute.
        """
        self.tor.start()
        try:
            await self.tor.wait_for_log(BOOTSTRAPPED, _START_TIMEOUT_S)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the client; safe to call twice."""
        self.tor.kill()

    async def forget_descriptor(self, address: OnionAddress) -> None:
        """Make the client fetch the descriptor anew at the next visit.

        Tor drops what it knows of an address whose client authorization changes. Unlike NEWNYM,
        this may be done at any rate and leaves everything else as it was.

        :raises ControlPortError: if the client does not answer.
        """
        await self.tor.request(
            f"ONION_CLIENT_AUTH_ADD {address.label} x25519:{_ANY_CLIENT_KEY}",
            f"ONION_CLIENT_AUTH_REMOVE {address.label}",
        )

    async def fetch_points(
        self, address: OnionAddress
    ) -> Mapping[Fingerprint, frozenset[IntroAuthKey]]:
        """Fetch the descriptor in force from every responsible HSDir: what each one lists.

        :raises NotHeld: if one of them has none, or does not answer.
        :raises DescriptorError: if one gave out what is no descriptor of this service.
        """
        held = await fetch_held(self.tor, address)
        return {
            hsdir: frozenset(point.auth_key for point in descriptor.points)
            for hsdir, descriptor in held.descriptors.items()
        }

    async def visit(
        self,
        address: OnionAddress,
        port: int = 80,
        *,
        path: str = "/",
        fresh_circuit: bool = True,
        refetch: bool = False,
        timeout_s: float = _VISIT_TIMEOUT_S,
    ) -> Visit:
        """Fetch a page; a failure is an outcome too, and never raised.

        :param fresh_circuit: share no circuit with any other visit.
        :param refetch: fetch the descriptor first, however new the one at hand is.
        """
        user = secrets.token_hex(8) if fresh_circuit else _COMMON_USER
        started_at, start = time.time(), time.monotonic()
        connected_s: float | None = None
        body, error = b"", None
        try:
            async with asyncio.timeout(timeout_s):
                if refetch:
                    await self.forget_descriptor(address)
                target = HostPort(str(address), port)
                connection = await connect_through(self._socks, target, user)
                reader, writer = await asyncio.open_connection(sock=connection)
                connected_s = time.monotonic() - start
                body = await _get(reader, writer, path)
        except TimeoutError:
            error = f"no answer within {timeout_s:g} s"
        except (ControlPortError, OSError, EOFError, ValueError) as failure:
            error = str(failure) or type(failure).__name__
        visit = Visit(
            started_at=started_at,
            connected_s=connected_s,
            seconds=time.monotonic() - start,
            body=body,
            error=error,
        )
        self._visits.append(visit)
        return visit


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bytes:
    """Fetch a page by HTTP/1.0, which ends with the connection; that is closed in any case.

    :raises ValueError: if the answer is not 200, or shorter than it says.
    """
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
    finally:
        writer.close()
    status, *headers = head.decode("latin-1").splitlines()
    if status.split(" ")[1:2] != ["200"]:
        raise ValueError(f"the page answered {status!r}")
    fields = (header.partition(":")[::2] for header in headers)
    lengths = [int(value) for name, value in fields if name.lower() == "content-length"]
    if lengths and lengths[0] != len(body):
        raise ValueError(f"the page broke off after {len(body)} of {lengths[0]} bytes")
    return body
