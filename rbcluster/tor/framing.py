"""The control port's text form, without any socket: bytes in, replies out; requests to bytes.

Not here: what replies mean, and who waits for them (`connection.py`).

Overview::

    ReplyReader    feed(bytes) -> complete replies, in order
    Reply          code and lines; code 650 is an event
    ReplyLine      one line, with the data block that followed it
    Event          a 650 reply, taken apart: kind, positional arguments, keywords
    encode_request one command line, with its data block

Spec: control-spec 2.3 [message formats], 4.1 [events].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rbcluster.errors import ControlPortError

EVENT_CODE = 650
MAX_LINE_BYTES = 65_536  # ours: the longest real lines, circuit events, take about 1 kB
MAX_REPLY_BYTES = 67_108_864  # ours: all microdescriptors of the public network take about 10 MB

_LINE = re.compile(rb"([0-9]{3})([ +-])(.*)", re.DOTALL)
_KEYWORD = re.compile(r"([A-Z][A-Z_]*)=(.*)", re.DOTALL)
_END_OF_DATA = b"\r\n.\r\n"
_SHOWN_CHARS = 40  # of a foreign line, in an error


@dataclass(frozen=True, slots=True)
class ReplyLine:
    """One line of a reply without its code, and its data block if it had one (LF line ends)."""

    text: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply; `code` is that of its last line (250 is success, 650 an event)."""

    code: int
    lines: tuple[ReplyLine, ...]  # never empty

    @property
    def text(self) -> str:
        """The last line: "OK", or why not."""
        return self.lines[-1].text


@dataclass(frozen=True, slots=True)
class Event:
    """An asynchronous reply: ``650 KIND arg arg KEY=value KEY=value``."""

    kind: str
    text: str  # all of the first line after the kind
    args: tuple[str, ...]
    keywords: Mapping[str, str]
    data: bytes | None

    @classmethod
    def parse(cls, reply: Reply) -> Event:
        """Take the first line of an event apart; a value in quotes keeps only its first word."""
        kind, _, rest = reply.lines[0].text.partition(" ")
        args, keywords = split_arguments(rest)
        return cls(kind, rest, args, keywords, reply.lines[0].data)


def split_arguments(text: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Split ``arg arg KEY=value`` into positional and keyword arguments.

    >>> split_arguments("7 BUILT $AB~nick PURPOSE=GENERAL")[0]
    ('7', 'BUILT', '$AB~nick')
    """
    args: list[str] = []
    keywords: dict[str, str] = {}
    for word in text.split():
        if match := _KEYWORD.fullmatch(word):
            keywords[match[1]] = match[2]
        else:
            args.append(word)
    return tuple(args), MappingProxyType(keywords)


def encode_request(line: str, data: bytes | None = None) -> bytes:
    r"""Write one command, with its data block if it has one.

    :param line: the command line without its end; starts with ``+`` if there is data.
    :raises ValueError: if it holds a line break, which would smuggle in a second command.

    >>> encode_request("+HSPOST", b"a\n.b\n")
    b'+HSPOST\r\na\r\n..b\r\n.\r\n'
    """
    if "\r" in line or "\n" in line:
        raise ValueError("a control command is one line")
    request = line.encode() + b"\r\n"
    if data is None:
        return request
    lines = data.removesuffix(b"\n").split(b"\n")
    stuffed = (b"." + row if row.startswith(b".") else row for row in lines)
    return request + b"".join(row + b"\r\n" for row in stuffed) + b".\r\n"


class ReplyReader:
    """Cuts a stream of bytes into replies, however it arrives.

    A data block is unescaped as it comes, so that no turn of the loop has megabytes to do at once.
    """

    def __init__(
        self, *, max_line_bytes: int = MAX_LINE_BYTES, max_reply_bytes: int = MAX_REPLY_BYTES
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._max_reply_bytes = max_reply_bytes
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no end of line or of data
        self._lines: list[ReplyLine] = []  # of the reply under way
        self._consumed = 0  # bytes of the reply under way that have left the buffer
        self._heading: str | None = None  # a line whose data block is under way
        self._data: list[bytes] = []  # what has come of that block, unescaped

    def feed(self, chunk: bytes) -> list[Reply]:
        """Take in bytes and return the replies that they complete.

        :raises ControlPortError: if this is no control port's text, or a line or reply never ends.
        """
        self._buffer += chunk
        replies: list[Reply] = []
        while True:
            if self._heading is None:
                line = self._take_line()
                if line is None:
                    return replies
                replies += self._end_line(line)
            else:
                data = self._take_data()
                if data is None:
                    return replies
                self._lines.append(ReplyLine(self._heading, data))
                self._heading = None

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        length = len(self._buffer) if end < 0 else end
        if length > self._max_line_bytes:
            raise ControlPortError(f"it sent a line of more than {self._max_line_bytes} bytes")
        if end < 0:
            self._scanned = length
            return None
        return self._take(end + 1).rstrip(b"\r\n")

    def _take_data(self) -> bytes | None:
        """Take what is whole of the block; the buffer begins with the line end before it."""
        end = self._buffer.find(_END_OF_DATA, self._scanned)
        if end >= 0:
            self._data.append(_unescape(self._take(end + len(_END_OF_DATA))[:-3]))
            data, self._data = b"".join(self._data), []
            return data.removeprefix(b"\n")
        cut = self._buffer.rfind(b"\r\n", max(1, self._scanned))
        if cut > 0:
            self._data.append(_unescape(self._take(cut)))
        self._check_size(len(self._buffer))
        self._scanned = max(0, len(self._buffer) - len(_END_OF_DATA) + 1)
        return None

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._scanned = 0
        self._check_size(size)
        self._consumed += size
        return taken

    def _check_size(self, more_bytes: int) -> None:
        if self._consumed + more_bytes > self._max_reply_bytes:
            raise ControlPortError(f"it sent a reply of more than {self._max_reply_bytes} bytes")

    def _end_line(self, line: bytes) -> list[Reply]:
        match = _LINE.fullmatch(line)
        if match is None:
            shown = line[:_SHOWN_CHARS].decode("ascii", "backslashreplace")
            raise ControlPortError(
                f"it is no Tor control port: it sent {shown!r}; check tor.control"
            )
        text = match[3].decode("utf-8", "backslashreplace")
        if match[2] == b"+":
            self._heading = text
            self._buffer[:0] = b"\r\n"
            return []
        self._lines.append(ReplyLine(text))
        if match[2] == b"-":
            return []
        reply = Reply(int(match[1]), tuple(self._lines))
        self._lines = []
        self._consumed = 0
        return [reply]


def _unescape(rows: bytes) -> bytes:
    """Undo the stuffed dots and the line ends of rows that begin with the line end before them."""
    return rows.replace(b"\r\n..", b"\r\n.").replace(b"\r\n", b"\n")
