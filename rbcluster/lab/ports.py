"""TCP ports of the loopback, asked from the kernel and kept until the lab is gone.

A reservation is a socket that is bound but never listens. Linux lets a second socket listen on
the same port when both set SO_REUSEADDR, as tor does; but it gives the port to nobody who asks for
any port. So there is no gap in which another process could take it.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


class PortReservation:
    """Ports that stay ours until `close`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def reserve(self) -> int:
        """Ask the kernel for a free TCP port of the loopback and hold it.

        :raises OSError: if there is none.
        """
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._sockets.append(holder)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        port: int = holder.getsockname()[1]
        return port

    def close(self) -> None:
        """Give all ports back; safe to call twice."""
        while self._sockets:
            self._sockets.pop().close()
