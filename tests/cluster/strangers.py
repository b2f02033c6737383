"""People from the street: connections to a node's port by those who have no business there."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from enum import Enum

from rbcluster.raft.settings import Address

_SLOW_S = 0.2  # between two bytes


class Kind(Enum):
    """What a stranger does once connected."""

    HALF_OPEN = "says nothing"
    GARBAGE = "sends what is no TLS"
    HUGE = "announces a frame of 2 GB"
    SLOW = "begins TLS a byte at a time"
    NAMELESS = "speaks TLS, but shows no certificate"


_FIRST_WORDS = {
    Kind.HALF_OPEN: b"",
    Kind.GARBAGE: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    Kind.HUGE: b"\x80\0\0\0" + bytes(1000),
}
_RECORD = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)  # as TLS begins


async def bother(address: Address, kind: Kind) -> float:
    """Connect, and stay until cut off; return after how many seconds that was."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(OSError):  # ssl.SSLError is one: being cut off is what this waits for
        reader, writer = await asyncio.open_connection(
            *address, ssl=_trusting() if kind is Kind.NAMELESS else None
        )
        began = loop.time()
        talking = asyncio.create_task(_talk(writer, kind))
        try:
            while await reader.read(65536):
                pass
        finally:
            talking.cancel()
            writer.transport.abort()
    return loop.time() - began


async def _talk(writer: asyncio.StreamWriter, kind: Kind) -> None:
    writer.write(_FIRST_WORDS.get(kind, b""))
    if kind is Kind.SLOW:
        for byte in _RECORD:
            writer.write(bytes([byte]))
            await asyncio.sleep(_SLOW_S)


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
