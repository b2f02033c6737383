"""A connection through a SOCKS 5 proxy, in which the user name chooses tor's circuit.

Tor never lets two user names share a circuit, so a new name means fresh circuits. A proxy that
wants no user name gets none. The host's name is the proxy's to resolve.

Spec: RFC 1928 (SOCKS 5), RFC 1929 (user name and password); socks-extensions.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from rbcluster.endpoint import HostPort

_VERSION = 5
_OFFER = b"\x05\x02\x00\x02"  # version 5, two methods: none, or user name and password
_NO_USER_NAME = b"\x05\x00"
_USER_NAME = b"\x05\x02"
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


class SocksError(OSError):
    """The proxy did not connect; the text says why, in its own categories."""


async def connect_through(proxy: HostPort | Path, target: HostPort, user: str) -> socket.socket:
    """Connect to a target through a proxy. The caller sets the time-out.

    :param proxy: a TCP endpoint, or a Unix socket.
    :param user: 1 to 255 bytes; through tor, different names never share a circuit.
    :returns: a connected socket that does not block.
    :raises SocksError: if the proxy says that it can't, or speaks no SOCKS 5.
    :raises OSError: if the proxy can't be reached.
    """
    loop = asyncio.get_running_loop()
    connection = await _reach(proxy, loop)
    try:
        await loop.sock_sendall(connection, _OFFER)
        chosen = await _read(connection, len(_USER_NAME))
        if chosen == _USER_NAME:
            await loop.sock_sendall(connection, b"\x01" + _counted(user) + _counted("x"))
            await _expect(connection, _ACCEPTED)
        elif chosen != _NO_USER_NAME:
            raise SocksError(f"it answered {chosen.hex()}: is this a SOCKS port?")
        port = target.port.to_bytes(_PORT_BYTES, "big")
        await loop.sock_sendall(connection, _CONNECT_TO_NAME + _counted(target.host) + port)
        await _read_reply(connection)
    except BaseException:
        connection.close()
        raise
    return connection


async def _reach(proxy: HostPort | Path, loop: asyncio.AbstractEventLoop) -> socket.socket:
    if isinstance(proxy, Path):
        family, address = socket.AF_UNIX, str(proxy)
    else:
        found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]  # type: ignore[assignment]
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _counted(text: str) -> bytes:
    raw = text.encode()
    return bytes([len(raw)]) + raw


async def _read(connection: socket.socket, number: int) -> bytes:
    """Read exactly so many bytes: what follows belongs to the target."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < number:
        part = await loop.sock_recv(connection, number - len(data))
        if not part:
            raise SocksError("the proxy closed the connection")
        data += part
    return data


async def _expect(connection: socket.socket, wanted: bytes) -> None:
    if (got := await _read(connection, len(wanted))) != wanted:
        raise SocksError(f"it answered {got.hex()}, not {wanted.hex()}: is this a SOCKS port?")


async def _read_reply(connection: socket.socket) -> None:
    version, code, _, kind = await _read(connection, 4)
    if version != _VERSION or kind not in _ADDRESS_BYTES:
        raise SocksError(f"it answered version {version}, address type {kind}: not SOCKS 5")
    await _read(connection, _ADDRESS_BYTES[kind] + _PORT_BYTES)
    if code != 0:
        raise SocksError(f"{_REPLIES.get(code, 'unknown reply')} ({code:#04x})")
