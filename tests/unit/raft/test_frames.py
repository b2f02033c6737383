from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.raft import codec
from rbcluster.raft.frames import Frame, FrameError, FrameKind, Hello, encode_frame, read_frame
from rbcluster.raft.limits import MAX_AGENT_BYTES, MAX_LOG_INDEX, MAX_TERM

HELLO = Hello(
    node=NodeId("a"),
    cluster=ClusterId(b"c" * 16),
    incarnation=Incarnation(b"i" * 16),
    is_founded=True,
    term=MAX_TERM,
    last_index=MAX_LOG_INDEX,
)


async def read(data: bytes, limit: int = 100_000) -> Frame:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_frame(reader, limit)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(1, FrameKind.HELLO, HELLO.to_wire()),
        Frame(2, FrameKind.PING, None),
        Frame(3, FrameKind.RAFT, {"type": "timeout_now", "term": 3}),
        Frame(2**40, FrameKind.AGENT, bytes(MAX_AGENT_BYTES)),
    ],
)
async def test_what_is_encoded_is_read(frame: Frame) -> None:
    assert await read(encode_frame(frame)) == frame


async def test_a_frame_that_is_too_long_is_refused_before_its_body_is_read() -> None:
    with pytest.raises(FrameError, match="announced a frame of 4294967295 bytes, more than 1000"):
        await read(b"\xff\xff\xff\xff", limit=1000)


@pytest.mark.parametrize("length", [0, 3, 5])
async def test_a_connection_that_ends_in_a_frame_says_so(length: int) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await read(encode_frame(Frame(1, FrameKind.PING, None))[:length])


@pytest.mark.parametrize(
    "value",
    [
        (1, 1),
        (0, 1, None),
        (1, 9, None),
        ("1", 1, None),
        {"type": "timeout_now"},
        (1, 3, "text"),
        (1, 3, bytes(MAX_AGENT_BYTES + 1)),
    ],
)
async def test_a_body_of_another_form_is_refused(value: object) -> None:
    body = codec.dumps(value)
    with pytest.raises(FrameError, match="it sent"):
        await read(len(body).to_bytes(4, "big") + body)


async def test_a_body_that_is_no_msgpack_is_refused() -> None:
    with pytest.raises(FrameError, match="no msgpack"):
        await read(b"\0\0\0\x01\xc1")


def test_a_greeting_of_another_protocol_version_names_both() -> None:
    with pytest.raises(FrameError, match="speaks version 9 of the link protocol, this node 3"):
        Hello.from_wire((9, "a", False))
    assert Hello.from_wire(HELLO.to_wire()) == HELLO


@pytest.mark.parametrize(
    "payload",
    [
        None,
        (3, "a"),
        (3, "Not A Name", bytes(16), bytes(16), True, 0, 1),
        (3, "a", bytes(15), bytes(16), True, 0, 1),
        (3, "a", bytes(16), bytes(17), True, 0, 1),
        (3, "a", bytes(16), bytes(16), 1, 0, 1),
        (3, "a", bytes(16), bytes(16), True, -1, 1),
        (3, "a", bytes(16), bytes(16), True, MAX_TERM + 1, 1),
        (3, "a", bytes(16), bytes(16), True, 0, 0),
        (3, "a", bytes(16), bytes(16), True, 0, MAX_LOG_INDEX + 1),
        (3, "a", bytes(16), bytes(16), True, True, 1),
    ],
)
def test_a_malformed_greeting_is_refused(payload: object) -> None:
    with pytest.raises(FrameError, match="greeting is malformed"):
        Hello.from_wire(payload)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.binary(max_size=60) | VALUES.map(codec.dumps)


@given(BODIES.map(lambda body: len(body).to_bytes(4, "big") + body) | st.binary(max_size=60))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    """Nothing else is raised: it would not end the link, but its task."""
    try:
        frame = asyncio.run(read(data, limit=1000))
    except (FrameError, asyncio.IncompleteReadError):
        return
    assert asyncio.run(read(encode_frame(frame))) == frame


@given(VALUES | st.tuples(st.just(1), st.text(max_size=70), st.booleans()))
def test_any_greeting_is_one_or_refused(payload: object) -> None:
    try:
        hello = Hello.from_wire(payload)
    except FrameError:
        return
    assert hello.to_wire() == payload
