"""The entrance: a listening socket, and the attempts that a gate lets begin.

Every connection passes the gate before it costs this node a TLS handshake.

Not here: how many may try (`gate.py`), and what they must show (`transport.py` for peers,
`enrolment/host.py` for guests).

Overview::

    listen(host, port) -> socket
    Entrance(server, gate, welcome, complain).accept_all()
    secure(connection, context) -> reader, writer
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rbcluster.raft.gate import Gate, source_of
from rbcluster.raft.limits import LISTEN_BACKLOG

_ACCEPT_PAUSE_S = 0.1  # after a failed accept: out of file descriptors, mostly


async def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    :raises OSError: if there is no such address here, or another program has it.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = found[0]
    server = socket.create_server(address[:2], family=family, backlog=LISTEN_BACKLOG)
    server.setblocking(False)
    return server


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Where strangers come in."""

    server: socket.socket
    gate: Gate
    welcome: Callable[[socket.socket, str], asyncio.Task[None]]  # begins an attempt, by its source
    complain: Callable[[OSError], None]  # of the listening socket

    async def accept_all(self) -> None:
        """Accept for ever. Each attempt is to `leave` the gate when it knows who came."""
        while True:
            await _until_readable(self.server)
            try:  # not loop.sock_accept: cancelled in an unlucky moment, it loses a socket unclosed
                connection, address = self.server.accept()
            except BlockingIOError:  # who wanted to connect is gone
                continue
            except OSError as error:
                self.complain(error)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            connection.setblocking(False)
            source = source_of(address[0])
            if not self.gate.has_room(source):
                connection.close()
                continue
            attempt = self.welcome(connection, source)
            attempt.add_done_callback(partial(_close, connection))  # also if it never gets to begin
            self.gate.enter(attempt, source)


async def secure(
    connection: socket.socket, context: ssl.SSLContext, limit: int = 2**16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Shake hands over an accepted connection. The caller sets the time-out.

    :param limit: of what is read before it is asked for, and of a line (bytes).
    :raises OSError: if that fails.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    # asyncio does so itself only where the socket knows its protocol's number
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _close(connection: socket.socket, _: object) -> None:
    connection.close()


async def _until_readable(server: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(server, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(server)
