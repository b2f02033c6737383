"""Checksummed records of small files that are put in place whole: the snapshot, the node's mark.

Layout of a record, big-endian::

    length of the body   u32
    CRC-32 of the body   u32
    CRC-32 of the above  u32     tells a flipped bit in the length from a file that ends too early
    body                 a value of `codec.py`

Nothing of such a file may be missing or changed (`disk.replace_file`); what is, is refused.

Not here: the journal, which grows and may end torn (`batches.py`).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from rbcluster.raft import codec
from rbcluster.raft.damage import damaged

_LENGTHS = struct.Struct(">II")
_CHECK = struct.Struct(">I")
_HEADER_BYTES = _LENGTHS.size + _CHECK.size


def encode_record(value: object) -> bytes:
    """Encode one record, header included."""
    body = codec.dumps(value)
    lengths = _LENGTHS.pack(len(body), zlib.crc32(body))
    return lengths + _CHECK.pack(zlib.crc32(lengths)) + body


def decode_records(data: bytes, path: Path) -> list[object]:
    """Decode the records of a file.

    :param data: the whole file.
    :param path: where it was read, for the error.
    :raises StorageError: if anything of it is damaged or missing.
    """
    values: list[object] = []
    position = 0
    while position < len(data):
        header = data[position : position + _HEADER_BYTES]
        if len(header) < _HEADER_BYTES:
            raise damaged(path, f"it is cut at byte {len(data)}")
        length, body_check = _LENGTHS.unpack_from(header)
        if zlib.crc32(header[: _LENGTHS.size]) != _CHECK.unpack_from(header, _LENGTHS.size)[0]:
            raise damaged(path, f"the record header at byte {position} fails its checksum")
        body = data[position + _HEADER_BYTES : position + _HEADER_BYTES + length]
        if len(body) < length:
            raise damaged(path, f"it is cut at byte {len(data)}")
        if zlib.crc32(body) != body_check:
            raise damaged(path, f"the record at byte {position} fails its checksum")
        try:
            values.append(codec.loads(body))
        except codec.CodecError as error:
            raise damaged(path, f"the record at byte {position} is no value") from error
        position += _HEADER_BYTES + length
    return values
