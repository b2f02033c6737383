"""Frames: how values travel over a link.

::

    length of the body  u32, big-endian; checked against a limit before the body is read
    body                msgpack (sequence, kind, payload), `codec.py`

The sequence number counts the frames of one connection in one direction, from 1. A frame whose
number is not above the last is late or a duplicate: PySyncObj applies different commands at one
index when frames change places.

Overview::

    FrameKind      HELLO | PING | RAFT | AGENT | VOTERS | SET_BACK
    Frame          sequence, kind, payload
    Hello          first frame in each direction: who speaks, and of which cluster and storage
    encode_frame, read_frame
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.raft import codec
from rbcluster.raft.limits import MAX_AGENT_BYTES, MAX_LOG_INDEX, MAX_TERM

PROTOCOL_VERSION = 3

_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """Bytes that no honest peer sends."""


class FrameKind(IntEnum):
    """What the payload of a frame is."""

    HELLO = 0  # Hello; first, once in each direction
    PING = 1  # None; the link is alive
    RAFT = 2  # dict; a message of `messages.py`
    AGENT = 3  # bytes; a payload of `RaftEngine.broadcast`
    VOTERS = 4  # `roll.Hint`; whom the sender's log gives a vote
    SET_BACK = 5  # None; the receiver's disk knows less than it told the sender before


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    sequence: int  # >= 1
    kind: FrameKind
    payload: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What each side says first."""

    node: NodeId
    cluster: ClusterId
    incarnation: Incarnation  # of its storage
    is_founded: bool  # it knows of voters; otherwise it was never in a cluster
    term: int  # as its disk has it; 0 .. MAX_TERM
    last_index: int  # of its log; 1 .. MAX_LOG_INDEX

    def to_wire(self) -> tuple[object, ...]:
        """Return the payload of a HELLO frame."""
        return (
            PROTOCOL_VERSION,
            self.node.name,
            self.cluster.raw,
            self.incarnation.raw,
            self.is_founded,
            self.term,
            self.last_index,
        )

    @classmethod
    def from_wire(cls, payload: object) -> Hello:
        """Read the payload of a HELLO frame.

        :raises FrameError: if it is malformed or of another protocol version.
        """
        match payload:
            case (int(version), str(name), *rest):
                pass
            case _:
                raise FrameError("its greeting is malformed")
        if version != PROTOCOL_VERSION:
            raise FrameError(
                f"it speaks version {version} of the link protocol, this node "
                f"{PROTOCOL_VERSION}: install the same rbcluster on both"
            )
        match rest:
            case [
                bytes(cluster),
                bytes(incarnation),
                bool(is_founded),
                int(term),
                int(last_index),
            ] if _is_within(term, 0, MAX_TERM) and _is_within(last_index, 1, MAX_LOG_INDEX):
                pass
            case _:
                raise FrameError("its greeting is malformed")
        try:
            return cls(
                node=NodeId(name),
                cluster=ClusterId(cluster),
                incarnation=Incarnation(incarnation),
                is_founded=is_founded,
                term=term,
                last_index=last_index,
            )
        except ValueError as error:
            raise FrameError(f"its greeting is malformed: {error}") from error


def _is_within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def encode_frame(frame: Frame) -> bytes:
    """Encode a frame, length included."""
    body = codec.dumps((frame.sequence, int(frame.kind), frame.payload))
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader, limit: int) -> Frame:
    """Read one frame. The caller sets the time-out.

    :param limit: longest body, in bytes.
    :raises FrameError: if it is too long or malformed.
    :raises asyncio.IncompleteReadError: if the connection ends.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > limit:
        raise FrameError(f"it announced a frame of {length} bytes, more than {limit}")
    return _decode(await reader.readexactly(length))


def _decode(body: bytes) -> Frame:
    try:
        value = codec.loads(body)
    except codec.CodecError as error:
        raise FrameError("it sent a frame that is no msgpack") from error
    match value:
        case (int(sequence), int(kind), payload) if sequence >= 1 and kind in _KINDS:
            frame = Frame(sequence, FrameKind(kind), payload)
        case _:
            raise FrameError("it sent a frame of an unknown form")
    if frame.kind is FrameKind.AGENT and not (
        isinstance(payload, bytes) and len(payload) <= MAX_AGENT_BYTES
    ):
        raise FrameError("it sent an agent message that is too long or no bytes")
    return frame


_KINDS = frozenset(FrameKind)
