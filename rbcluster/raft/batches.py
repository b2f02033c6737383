"""The journal's file format: batches of bytes in sectors that show what a crash left undone.

The file is made of sectors, which a disk writes whole or not at all (`disk.py`), and is always
longer than what was written, the rest zeros::

    magic  "RJ"                                    2 bytes
    number of bytes used of the payload            u16, big-endian, as all that follow
    number of the batch, from 1 without a gap      u32
    number of the batch's sectors that follow      u32
    CRC-32 of all the rest of the sector           u32
    payload, zeros after what is used              496 bytes

So each sector is whole, never written (all zeros), or damaged. The first batch comes with the file,
which is put in place whole. Every later one is written in one go and then synced, and only after
that is anyone told of it, or the next one begun. It follows what any content of a file means:

- a damaged sector, anywhere, also in the unused part: refused. No changed byte passes, for the CRC
  finds it, and no single byte makes a used sector look unused, or the other way about.
- a batch of which sectors are missing, with anything of a later batch behind it: refused.
- a batch of which sectors are missing, the last: torn. A crash came before it was synced, nobody
  was told of it, and it is dropped whole.
- a length that is no multiple of `RESERVE_BYTES`, or no unused sector at the end: cut; refused. Any
  cut that takes more than unused sectors leaves one of the two.

A sector that was synced and later reads as never written is the one thing that can't be told from
a torn batch, and only in the last batch; disks return zeros for what they never wrote, not for what
they lost.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from rbcluster.raft.damage import damaged
from rbcluster.raft.disk import SECTOR_BYTES

RESERVE_BYTES = 256 * 1024
"""The file grows by this much at once: it makes a cut visible, and syncing cheaper."""

_MAGIC = b"RJ"
_HEAD = struct.Struct(">2sHII")
_CHECK = struct.Struct(">I")
_PAYLOAD_AT = _HEAD.size + _CHECK.size
PAYLOAD_BYTES = SECTOR_BYTES - _PAYLOAD_AT
_UNUSED = bytes(SECTOR_BYTES)


class Batches(NamedTuple):
    """What a file holds."""

    bodies: list[bytes]
    torn_at: int | None  # where a batch begins that a crash tore, if one does


class _Sector(NamedTuple):
    payload: bytes
    batch: int
    num_left: int


def encode_batch(number: int, body: bytes) -> bytes:
    """Encode a batch, at least one sector.

    :param number: one above the last; 1 for the first of a file.
    """
    parts = [body[i : i + PAYLOAD_BYTES] for i in range(0, len(body), PAYLOAD_BYTES)] or [b""]
    return b"".join(
        _encode_sector(_Sector(part, number, len(parts) - 1 - index))
        for index, part in enumerate(parts)
    )


def _encode_sector(sector: _Sector) -> bytes:
    head = _HEAD.pack(_MAGIC, len(sector.payload), sector.batch, sector.num_left)
    payload = sector.payload.ljust(PAYLOAD_BYTES, b"\0")
    return head + _CHECK.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def file_size(used: int) -> int:
    """Return how long a file is of which so many bytes are used: there is always an unused end."""
    return (used // RESERVE_BYTES + 1) * RESERVE_BYTES


def decode_batches(data: bytes, path: Path) -> Batches:
    """Read the batches of a file.

    :param path: where it was read, for the error.
    :raises StorageError: if the file is damaged, cut, or without a whole first batch.
    """
    if not data or len(data) % RESERVE_BYTES:
        raise damaged(path, f"it is cut: {len(data)} bytes are no multiple of {RESERVE_BYTES}")
    bodies: list[bytes] = []
    position = 0
    while sectors := _read_batch(data, position, len(bodies) + 1, path):
        bodies.append(b"".join(sector.payload for sector in sectors))
        position += len(sectors) * SECTOR_BYTES
    is_torn = _check_tail(data, position, len(bodies) + 1, path)
    if not bodies:
        raise damaged(path, "it has no beginning")
    return Batches(bodies, position if is_torn else None)


def _read_batch(data: bytes, position: int, number: int, path: Path) -> list[_Sector]:
    """Read a whole batch; none if a sector of it was never written."""
    sectors: list[_Sector] = []
    while not sectors or sectors[-1].num_left:
        sector = _read_sector(data, position, path)
        if sector is None:
            return []
        follows = not sectors or sector.num_left == sectors[-1].num_left - 1
        if sector.batch != number or not follows:
            raise damaged(path, f"the sector at byte {position} is out of place")
        sectors.append(sector)
        position += SECTOR_BYTES
    return sectors


def _check_tail(data: bytes, start: int, number: int, path: Path) -> bool:
    """Check what follows the last whole batch; tell whether a torn one does."""
    is_torn = bool(data[start:].strip(b"\0"))
    for position in range(start, len(data) if is_torn else start, SECTOR_BYTES):
        sector = _read_sector(data, position, path)
        if sector is not None and sector.batch != number:
            raise damaged(path, f"what stood at byte {start} is missing, and more follows it")
    if data[-SECTOR_BYTES:] != _UNUSED:
        raise damaged(path, f"it is cut at byte {len(data)}")
    return is_torn


def _read_sector(data: bytes, position: int, path: Path) -> _Sector | None:
    """Read a sector; None if it was never written."""
    raw = data[position : position + SECTOR_BYTES]
    if not raw:
        raise damaged(path, f"it is cut at byte {position}")
    if raw == _UNUSED:
        return None
    magic, used, batch, num_left = _HEAD.unpack_from(raw)
    (check,) = _CHECK.unpack_from(raw, _HEAD.size)
    if magic != _MAGIC or zlib.crc32(raw[_PAYLOAD_AT:], zlib.crc32(raw[: _HEAD.size])) != check:
        raise damaged(path, f"the sector at byte {position} fails its checksum")
    return _Sector(raw[_PAYLOAD_AT : _PAYLOAD_AT + used], batch, num_left)
