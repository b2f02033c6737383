from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ControlPortError
from rbcluster.tor.framing import Event, Reply, ReplyLine, ReplyReader, encode_request

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)
_DATA = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")))
_LINES = st.lists(
    st.tuples(_TEXT, st.none() | _DATA.map(lambda rows: b"".join(row + b"\n" for row in rows))),
    max_size=4,
)
_REPLIES = st.lists(
    st.tuples(st.integers(100, 999), _LINES, _TEXT).map(
        lambda t: Reply(t[0], (*(ReplyLine(*line) for line in t[1]), ReplyLine(t[2])))
    ),
    max_size=4,
)


def _encode(reply: Reply) -> bytes:
    """Write a reply as tor does; `encode_request` knows how a data block looks."""
    wire = b""
    for line in reply.lines[:-1]:
        if line.data is None:
            wire += f"{reply.code}-{line.text}\r\n".encode()
        elif line.data:
            wire += encode_request(f"{reply.code}+{line.text}", line.data)
        else:
            wire += f"{reply.code}+{line.text}\r\n.\r\n".encode()
    return wire + f"{reply.code} {reply.text}\r\n".encode()


@given(_REPLIES, st.data())
def test_replies_are_read_however_the_bytes_arrive(
    replies: list[Reply], data: st.DataObject
) -> None:
    wire = b"".join(_encode(reply) for reply in replies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    reader = ReplyReader()
    read: list[Reply] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        read += reader.feed(wire[start:end])
    assert read == replies


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_are_replies_or_a_control_port_error(chunks: list[bytes]) -> None:
    reader = ReplyReader()
    replies: list[Reply] = []
    with contextlib.suppress(ControlPortError):
        for chunk in chunks:
            replies += reader.feed(chunk)
    for reply in replies:
        assert reply.lines
        Event.parse(reply)


def test_stuffed_dots_are_unstuffed() -> None:
    (reply,) = ReplyReader().feed(b"250+k=\r\n..\r\n..a\r\n.\r\n250 OK\r\n")
    assert reply.lines[0].data == b".\n.a\n"


def test_an_http_server_is_told_from_tor() -> None:
    with pytest.raises(ControlPortError, match=r"no Tor control port: it sent 'HTTP/1.1 400 Bad"):
        ReplyReader().feed(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize(("length", "is_taken"), [(96, True), (97, False)])
def test_a_line_is_bounded(length: int, is_taken: bool) -> None:
    reader = ReplyReader(max_line_bytes=100)
    line = b"250 " + b"a" * length
    assert len(line) == length + 4
    if is_taken:
        assert reader.feed(line + b"\n")
    else:
        with pytest.raises(ControlPortError, match="line of more than 100 bytes"):
            reader.feed(line)


@pytest.mark.parametrize(
    "endless", [b"250+k=\r\n" + b"a\r\n" * 50, b"250-k\r\n" * 50], ids=["data", "lines"]
)
def test_a_reply_is_bounded(endless: bytes) -> None:
    with pytest.raises(ControlPortError, match="reply of more than 100 bytes"):
        ReplyReader(max_reply_bytes=100).feed(endless)


def test_many_small_replies_are_not_one_large_one() -> None:
    assert len(ReplyReader(max_reply_bytes=100).feed(b"250 OK\r\n" * 50)) == 50


@pytest.mark.parametrize("line", ["GETINFO a\r\nSIGNAL HALT", "GETINFO a\nSIGNAL HALT", "a\r"])
def test_a_second_command_can_not_be_smuggled_in(line: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode_request(line)


@pytest.mark.parametrize("data", [b"a\nb\n", b"a\nb"])
def test_data_ends_with_a_line_end_before_the_dot(data: bytes) -> None:
    assert encode_request("+X", data) == b"+X\r\na\r\nb\r\n.\r\n"


def test_an_event_is_taken_apart() -> None:
    event = Event.parse(Reply(650, (ReplyLine("CIRC 7 CLOSED $AA~n PURPOSE=X REASON=Y", b"d"),)))
    assert (event.kind, event.args) == ("CIRC", ("7", "CLOSED", "$AA~n"))
    assert event.keywords == {"PURPOSE": "X", "REASON": "Y"}
    assert (event.text, event.data) == ("7 CLOSED $AA~n PURPOSE=X REASON=Y", b"d")
