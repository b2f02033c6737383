"""Files of checksummed records, and how they get onto the disk: journal and snapshot share them.

Layout of a record, big-endian::

    length of the body   u32
    CRC-32 of the body   u32
    CRC-32 of the above  u32     tells a flipped bit in the length from the end of the file
    body                 a value of `codec.py`

Only the end of a file may be missing: that is what a crash leaves. Everything else that does not
fit is damage, and is never guessed around.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from rbcluster.errors import StorageError
from rbcluster.raft import codec

_LENGTHS = struct.Struct(">II")
_CHECK = struct.Struct(">I")
_HEADER_BYTES = _LENGTHS.size + _CHECK.size


def encode_record(value: object) -> bytes:
    """Encode one record, header included."""
    body = codec.dumps(value)
    lengths = _LENGTHS.pack(len(body), zlib.crc32(body))
    return lengths + _CHECK.pack(zlib.crc32(lengths)) + body


def decode_records(data: bytes, path: Path) -> tuple[list[object], int]:
    """Decode the records of a file.

    :param data: the whole file.
    :param path: where it was read, for the error.
    :returns: the records' values, and how many bytes they take; the rest is a torn record.
    :raises StorageError: if the file is damaged before its end.
    """
    values: list[object] = []
    position = 0
    while len(data) - position >= _HEADER_BYTES:
        header = data[position : position + _HEADER_BYTES]
        length, body_check = _LENGTHS.unpack_from(header)
        if zlib.crc32(header[: _LENGTHS.size]) != _CHECK.unpack_from(header, _LENGTHS.size)[0]:
            if not any(data[position:]):
                break  # the file grew before its content was written
            raise damaged(path, f"a record header at byte {position} fails its checksum")
        body = data[position + _HEADER_BYTES : position + _HEADER_BYTES + length]
        if len(body) < length:
            break
        if zlib.crc32(body) != body_check:
            raise damaged(path, f"the record at byte {position} fails its checksum")
        try:
            values.append(codec.loads(body))
        except codec.CodecError as error:
            raise damaged(path, f"the record at byte {position} is no value") from error
        position += _HEADER_BYTES + length
    return values, position


def damaged(path: Path, found: str) -> StorageError:
    """Make the error for a file that can't be trusted."""
    return StorageError(
        f"{path} is damaged ({found}): move {path.parent} away while "
        "a majority of the other nodes is up, and this node fetches everything from them"
    )


def read_file(path: Path) -> bytes | None:
    """Read a file, or return None if there is none.

    :raises StorageError: if it can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(
            f"{path} can't be read ({error.strerror}): check its owner and mode"
        ) from (error)


def write_file(path: Path, data: bytes) -> None:
    """Put a file in place so that after a power loss either the old or the new one is there, whole.

    :raises StorageError: if it can't be written.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, for the mode
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written ({error.strerror}): check the disk, then start the node again"
        ) from error


def sync_directory(directory: Path) -> None:
    """Make a renaming or a new name in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
