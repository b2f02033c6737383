"""A connection through tor's SOCKS port, in which the user name chooses the circuit.

Tor never lets two user names share a circuit, so a new name means fresh circuits.

Spec: RFC 1928 (SOCKS 5), RFC 1929 (user name and password); socks-extensions.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

_VERSION = b"\x05"
_OFFER_USER_NAME = b"\x05\x01\x02"  # version 5, one method: user name and password
_USER_NAME_CHOSEN = b"\x05\x02"
_ACCEPTED = b"\x01\x00"
_CONNECT_TO_NAME = b"\x05\x01\x00\x03"  # version 5, CONNECT, reserved, address is a name
_PORT_BYTES = 2
_ADDRESS_BYTES = {1: 4, 4: 16}  # address types of a reply: IPv4, IPv6
_REPLIES = {
    1: "general failure",
    2: "not allowed",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    0xF0: "descriptor not found",
    0xF1: "descriptor invalid",
    0xF2: "introduction failed",
    0xF3: "rendezvous failed",
    0xF4: "client authorization missing",
    0xF5: "client authorization wrong",
    0xF6: "invalid onion address",
    0xF7: "introduction timed out",
}


class SocksError(Exception):
    """Tor did not connect; the text says why, in its own categories."""


async def open_through_socks(
    socket: Path, host: str, port: int, user: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a host through a tor that listens for SOCKS on a Unix socket.

    :param user: 1 to 255 bytes; connections with different names never share a circuit.
    :raises SocksError: if tor says that it can't, or speaks no SOCKS.
    :raises OSError: if tor does not listen.
    """
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(_OFFER_USER_NAME)
        await _expect(reader, _USER_NAME_CHOSEN)
        writer.write(b"\x01" + _counted(user) + _counted("x"))  # any password
        await _expect(reader, _ACCEPTED)
        writer.write(_CONNECT_TO_NAME + _counted(host) + port.to_bytes(_PORT_BYTES, "big"))
        await _read_reply(reader)
    except asyncio.IncompleteReadError as error:
        writer.close()
        raise SocksError("tor closed the connection") from error
    except BaseException:
        writer.close()
        raise
    return reader, writer


def _counted(text: str) -> bytes:
    raw = text.encode()
    return bytes([len(raw)]) + raw


async def _expect(reader: asyncio.StreamReader, wanted: bytes) -> None:
    if (got := await reader.readexactly(len(wanted))) != wanted:
        raise SocksError(f"tor answered {got.hex()}, not {wanted.hex()}: is this a SOCKS port?")


async def _read_reply(reader: asyncio.StreamReader) -> None:
    version, code, _, kind = await reader.readexactly(4)
    if bytes([version]) != _VERSION or kind not in _ADDRESS_BYTES:
        raise SocksError(f"tor answered version {version}, address type {kind}: not SOCKS 5")
    await reader.readexactly(_ADDRESS_BYTES[kind] + _PORT_BYTES)
    if code != 0:
        raise SocksError(f"{_REPLIES.get(code, 'unknown reply')} ({code:#04x})")
