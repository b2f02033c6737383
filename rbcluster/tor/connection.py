"""One control connection: requests with time-outs, events by callback, one reason when it ends.

Not here: authentication, reconnecting, the meaning of any reply. stem's own Controller is not
used, since it can block for ever in odd states; here every wait is bounded.

Replies come in the order of the requests, so waiting requests stand in a queue. One that timed
out keeps its place: its late answer is dropped, and the next one still meets its own.

Spec: control-spec 2 and 3.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

from rbcluster.endpoint import explain
from rbcluster.errors import ControlPortError
from rbcluster.tor.framing import EVENT_CODE, Event, Reply, ReplyReader, encode_request
from rbcluster.tor.settings import ControlEndpoint

REQUEST_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0
_READ_BYTES = 262_144  # per turn of the loop: enough for speed, little enough not to stall it
_SUCCESS = range(200, 300)


class RequestRefused(ControlPortError):  # noqa: N818 - tor's answer, not a broken connection
    """Tor understood a request and said no; the connection goes on."""

    def __init__(self, verb: str, reply: Reply) -> None:
        super().__init__(f"tor refused {verb}: {reply.code} {reply.text}")
        self.code = reply.code  # 5xx
        self.text = reply.text  # tor's own words


class ConnectionOver(ControlPortError):  # noqa: N818 - a state, not a fault of the request
    """The connection had ended before a request was written: tor never saw it."""


class ControlConnection:
    """An open control connection; made by `open_connection`."""

    def __init__(
        self,
        endpoint: ControlEndpoint,
        writer: asyncio.StreamWriter,
        on_event: Callable[[Event], None],
    ) -> None:
        self.name = describe_endpoint(endpoint)
        self._writer = writer
        self._on_event = on_event
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()  # when bytes last came: the sign of life
        self._ended: asyncio.Future[str] = self._loop.create_future()

    async def request(
        self, line: str, data: bytes | None = None, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> Reply:
        """Send one command and wait for its reply.

        :param data: goes as a data block; `line` must then start with ``+``.
        :raises RequestRefused: if tor says no.
        :raises ConnectionOver: if there is no connection any more; nothing was sent then.
        :raises ControlPortError: if the connection gets lost, or no reply comes in time.
        """
        if self._ended.done():
            raise ConnectionOver(self._ended.result())
        verb = line.partition(" ")[0].removeprefix("+")  # arguments may be secret
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(answer)
        self._writer.write(encode_request(line, data))
        try:
            async with asyncio.timeout(timeout_s):
                reply = await answer
        except TimeoutError as error:
            raise ControlPortError(
                f"{self.name} did not answer {verb} within {timeout_s:g} s; see whether tor hangs"
            ) from error
        if reply.code not in _SUCCESS:
            raise RequestRefused(verb, reply)
        return reply

    async def getinfo(self, key: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> bytes:
        """Ask for one value.

        :returns: the value; with a final newline if it came as a data block.
        :raises RequestRefused: if tor doesn't know the key, or has no value for it.
        :raises ControlPortError: as `request`.
        """
        reply = await self.request(f"GETINFO {key}", timeout_s=timeout_s)
        name, _, value = reply.lines[0].text.partition("=")
        if name != key:
            raise ControlPortError(f"{self.name} answered {name!r} when asked for {key!r}")
        data = reply.lines[0].data
        return value.encode() if data is None else data

    async def getconf(self, *keys: str) -> tuple[tuple[str, str], ...]:
        """Ask for options.

        :returns: (name in lower case, value) in tor's order; an unset option has the value "".
        :raises RequestRefused: if tor doesn't know one of them.
        :raises ControlPortError: as `request`.
        """
        reply = await self.request(f"GETCONF {' '.join(keys)}")
        pairs = (line.text.partition("=") for line in reply.lines)
        return tuple((name.lower(), value) for name, _, value in pairs)

    async def ended(self) -> NoReturn:
        """Wait until the connection is lost.

        :raises ControlPortError: then, with the reason.
        """
        reason = await asyncio.shield(self._ended)
        raise ControlPortError(reason)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand out replies and events until the connection ends."""
        replies = ReplyReader()
        reason = "tor closed the connection; its log may say why"
        try:
            while chunk := await reader.read(_READ_BYTES):
                self.heard_at = self._loop.time()
                for reply in replies.feed(chunk):
                    self._hand_out(reply)
        except ConnectionError:
            pass  # closed too, only less politely
        except OSError as error:
            reason = explain(error)
        except ControlPortError as error:
            reason = str(error)
        finally:
            self._end(f"{self.name}: {reason}")

    def _hand_out(self, reply: Reply) -> None:
        if reply.code == EVENT_CODE:
            self._on_event(Event.parse(reply))
        elif not self._waiting:
            raise ControlPortError(f"it answered {reply.code} though nothing was asked")
        elif not (answer := self._waiting.popleft()).done():
            answer.set_result(reply)

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(ControlPortError(reason))
        self._waiting.clear()


@asynccontextmanager
async def open_connection(
    endpoint: ControlEndpoint, on_event: Callable[[Event], None]
) -> AsyncIterator[ControlConnection]:
    """Connect, and close on leaving. `on_event` must not block; it is called in arrival order.

    :raises ControlPortError: if nobody listens there, or may not be reached.
    """
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await _connect(endpoint)
    except OSError as error:  # TimeoutError is one, too
        raise ControlPortError(
            f"cannot connect to {describe_endpoint(endpoint)} ({explain(error)}); check that tor "
            "runs with this ControlSocket or ControlPort, and that this user may use it"
        ) from error
    connection = ControlConnection(endpoint, writer, on_event)
    reading = asyncio.create_task(connection._read(reader))  # noqa: SLF001 - its other half
    try:
        yield connection
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        writer.close()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await writer.wait_closed()
        if not reading.cancelled():
            reading.result()  # raises what only a bug in `on_event` leaves there


async def _connect(
    endpoint: ControlEndpoint,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(endpoint, Path):
        return await asyncio.open_unix_connection(endpoint, limit=_READ_BYTES)
    host, port = endpoint
    return await asyncio.open_connection(host, port, limit=_READ_BYTES)


def describe_endpoint(endpoint: ControlEndpoint) -> str:
    """Name a control endpoint in a sentence.

    >>> describe_endpoint(("127.0.0.1", 9051))
    'control port 127.0.0.1:9051'
    """
    if isinstance(endpoint, Path):
        return f"control socket {endpoint}"
    return f"control port {endpoint[0]}:{endpoint[1]}"
