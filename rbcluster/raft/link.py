"""One authenticated connection to one peer, from greeting to end; a new connection is a new link.

Frames of a closed link are never delivered, so none can arrive after those of its successor.

Not here: making connections, and who may make them (`transport.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress

from rbcluster.endpoint import explain
from rbcluster.raft.frames import Frame, FrameError, FrameKind, encode_frame, read_frame
from rbcluster.raft.limits import (
    MAX_FRAME_BYTES,
    MAX_HELLO_BYTES,
    OUT_BUFFER_CAP_BYTES,
    OUT_BUFFER_HIGH_BYTES,
    OUT_BUFFER_LOW_BYTES,
)

_CLOSE_TIMEOUT_S = 1.0  # how long an orderly end may take before the connection is cut


class Link:
    """One connection, both directions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0  # sequence number of the last frame out
        self._received = 0  # ... and in
        self._is_closed = False
        self.heard_at = asyncio.get_running_loop().time()  # a frame arrived; monotonic seconds
        writer.transport.set_write_buffer_limits(
            high=OUT_BUFFER_HIGH_BYTES, low=OUT_BUFFER_LOW_BYTES
        )

    def send(self, kind: FrameKind, payload: object) -> bool:
        """Queue a frame; never blocks.

        :returns: False if the link is closed, or was closed now because its peer does not read.
        """
        if self._is_closed or self._writer.is_closing():
            return False
        self._sent += 1
        self._writer.write(encode_frame(Frame(self._sent, kind, payload)))
        if self._buffered() > OUT_BUFFER_CAP_BYTES:
            self.abort()
            return False
        return True

    def _buffered(self) -> int:
        return self._writer.transport.get_write_buffer_size()

    def is_congested(self) -> bool:
        """Tell whether so much waits to be sent that a bulk transfer should pause."""
        return self._buffered() > OUT_BUFFER_HIGH_BYTES

    async def drained(self) -> None:
        """Wait until a congested link has sent most of what waits, or is closed."""
        with suppress(OSError):
            await self._writer.drain()

    async def receive_first(self) -> Frame:
        """Receive the greeting. The caller sets the time-out.

        :raises FrameError: if it is something else.
        """
        frame = await read_frame(self._reader, MAX_HELLO_BYTES)
        if frame.kind is not FrameKind.HELLO:
            raise FrameError("it did not greet first")
        self._received = frame.sequence
        return frame

    async def receive_all(self, deliver: Callable[[FrameKind, object], None]) -> None:
        """Deliver frame after frame until the connection ends or this task is cancelled.

        :raises FrameError: if the peer sends what is no frame.
        :raises asyncio.IncompleteReadError: when the peer closes.
        :raises OSError: when the connection breaks.
        """
        loop = asyncio.get_running_loop()
        while True:
            frame = await read_frame(self._reader, MAX_FRAME_BYTES)
            if self._is_closed:
                return
            self.heard_at = loop.time()
            if frame.sequence <= self._received:
                continue
            self._received = frame.sequence
            if frame.kind is FrameKind.HELLO:
                raise FrameError("it greeted twice")
            if frame.kind is not FrameKind.PING:
                deliver(frame.kind, frame.payload)

    def take_no_more(self) -> None:
        """Deliver nothing any more, and send nothing more than is queued."""
        self._is_closed = True

    def abort(self) -> None:
        """Cut the connection at once; nothing is sent or delivered any more."""
        self._is_closed = True
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection in order, so that what is queued may still arrive; at most 1 s."""
        self._is_closed = True
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._writer.wait_closed()
        self._writer.transport.abort()


def describe(error: BaseException) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, asyncio.IncompleteReadError):
        return "it closed the connection"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate does not hold ({error.verify_message}): "
            "issue it from this cluster's authority"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}): both need certificates of one authority"
    if isinstance(error, OSError):
        return explain(error)
    return str(error) or type(error).__name__
