"""msgpack, strictly: what stands on disk and on the links, and what PySyncObj gets for pickle.

A value is None, bool, int (64 bits), str, bytes, a tuple, a dict with str keys, or a `PeerNode`
(extension type 1). Nothing read can run code. Arrays come back as tuples: PySyncObj compares
entries of the snapshot with those of the journal, and a list would never be equal.

Overview::

    PeerNode             a node in PySyncObj's eyes: equality by name
    dumps, loads         the two functions, under the names that PySyncObj calls
    CodecError           bytes that are no such value
"""

from __future__ import annotations

import zlib
from typing import Any

import msgpack
from pysyncobj.node import Node

from rbcluster.core.ids import NodeId

_PEER_NODE = 1


class CodecError(ValueError):
    """Bytes that are no value of this codec, or a value that it does not carry."""


class PeerNode(Node):
    """A node as PySyncObj knows it; its `id` is the node's name."""

    def __init__(self, id: str) -> None:  # noqa: A002 - PySyncObj calls its nodeClass this way
        super().__init__(NodeId(id).name)

    def __hash__(self) -> int:
        """Hash alike in every process: PySyncObj iterates over sets of nodes."""
        return zlib.crc32(self.id.encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PeerNode) and self.id == other.id


def dumps(value: object) -> bytes:
    """Encode a value.

    :raises CodecError: if it holds a type that this codec does not carry.
    """
    try:
        return msgpack.packb(value, use_bin_type=True, default=_encode_other)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"can't encode {type(value).__name__}: {error}") from error


def loads(data: bytes) -> Any:
    """Decode a value.

    :raises CodecError: if `data` is not exactly one value.
    """
    try:
        return msgpack.unpackb(
            data, raw=False, use_list=False, strict_map_key=True, ext_hook=_decode_extension
        )
    except (ValueError, msgpack.UnpackException) as error:  # broken UTF-8 and limits included
        raise CodecError(f"{len(data)} bytes are no msgpack value: {error}") from error


def _encode_other(value: object) -> msgpack.ExtType:
    if not isinstance(value, PeerNode):
        raise TypeError(f"{type(value).__name__} is no type of this codec")
    return msgpack.ExtType(_PEER_NODE, value.id.encode())


def _decode_extension(code: int, data: bytes) -> PeerNode:
    if code != _PEER_NODE:
        raise ValueError(f"unknown extension type {code}")
    return PeerNode(data.decode())
