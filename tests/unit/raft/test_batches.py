from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rbcluster.errors import StorageError
from rbcluster.raft.batches import (
    PAYLOAD_BYTES,
    RESERVE_BYTES,
    decode_batches,
    encode_batch,
    file_size,
)
from rbcluster.raft.disk import SECTOR_BYTES

PATH = Path("/d/journal")
BODIES = [b"first", bytes(PAYLOAD_BYTES), b"\xff" * (3 * PAYLOAD_BYTES + 1), b"last" * 200]
USED = b"".join(encode_batch(number, body) for number, body in enumerate(BODIES, start=1))
WHOLE = USED.ljust(RESERVE_BYTES, b"\0")
LAST_AT = len(USED) - len(encode_batch(4, BODIES[3]))


def without(*sectors: int, data: bytes = WHOLE) -> bytes:
    """The file as if some sectors had never been written."""
    left = bytearray(data)
    for sector in sectors:
        left[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES] = bytes(SECTOR_BYTES)
    return bytes(left)


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=8))
def test_any_batches_come_back(bodies: list[bytes]) -> None:
    used = b"".join(encode_batch(number, body) for number, body in enumerate(bodies, start=1))
    assert decode_batches(used.ljust(file_size(len(used)), b"\0"), PATH) == (bodies, None)


@pytest.mark.parametrize("used", [0, 1, RESERVE_BYTES - SECTOR_BYTES, RESERVE_BYTES])
def test_file_always_has_an_unused_sector(used: int) -> None:
    assert file_size(used) % RESERVE_BYTES == 0
    assert file_size(used) >= used + SECTOR_BYTES


def test_every_changed_byte_of_what_is_used_is_found_with_its_place() -> None:
    for position in range(len(USED)):
        for change in (0x01, 0x80, WHOLE[position] or 0xFF):  # the last: it becomes zero
            damaged = bytearray(WHOLE)
            damaged[position] ^= change
            sector_at = position // SECTOR_BYTES * SECTOR_BYTES
            with pytest.raises(StorageError, match=f"sector at byte {sector_at} fails"):
                decode_batches(bytes(damaged), PATH)


@given(st.integers(len(USED), RESERVE_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_of_what_is_unused_is_found_too(position: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] ^= change
    with pytest.raises(StorageError, match="fails its checksum"):
        decode_batches(bytes(damaged), PATH)


def _of_size(used: int, *, size: int) -> bytes:
    """A file whose batches take so many sectors."""
    body = bytes((used // SECTOR_BYTES - 1) * PAYLOAD_BYTES)
    return (encode_batch(1, b"base") + encode_batch(2, body)).ljust(size, b"\0")


@given(
    st.integers(2, 1500).map(lambda sectors: sectors * SECTOR_BYTES),
    st.integers(0, 4 * RESERVE_BYTES),
)
@example(RESERVE_BYTES, RESERVE_BYTES)
@example(RESERVE_BYTES - SECTOR_BYTES, RESERVE_BYTES)
@example(2 * RESERVE_BYTES, RESERVE_BYTES)
def test_a_cut_at_any_length_is_refused_unless_all_that_was_used_is_there(
    used: int, length: int
) -> None:
    whole = _of_size(used, size=file_size(used) + RESERVE_BYTES)
    expected = decode_batches(whole, PATH)
    try:
        found = decode_batches(whole[:length], PATH)
    except StorageError as error:
        assert "cut" in str(error)  # noqa: PT017 - it may also be read
    else:
        assert found == expected
        assert not whole[length:].strip(b"\0")


@pytest.mark.parametrize("missing", [(8,), (9,), (8, 9)])
def test_the_last_batch_with_sectors_missing_is_dropped_whole(missing: tuple[int, ...]) -> None:
    torn_at = LAST_AT if len(missing) == 1 else None
    assert LAST_AT == 6 * SECTOR_BYTES
    shifted = tuple(sector - 2 for sector in missing)
    assert decode_batches(without(*shifted), PATH) == (BODIES[:3], torn_at)


@pytest.mark.parametrize("missing", range(6))
def test_a_sector_missing_before_the_last_batch_is_damage(missing: int) -> None:
    with pytest.raises(StorageError, match="is missing, and more follows it"):
        decode_batches(without(missing), PATH)


def test_a_first_batch_that_is_not_whole_is_damage() -> None:
    for data in (bytes(RESERVE_BYTES), without(1, data=encode_batch(1, bytes(600)) + WHOLE[1024:])):
        with pytest.raises(StorageError, match=r"is missing|no beginning"):
            decode_batches(data, PATH)


@pytest.mark.parametrize(
    "order", [(0, 2, 1), (0, 0, 1), (1, 2), (0, 1, 3)], ids=lambda order: "".join(map(str, order))
)
def test_batches_out_of_order_are_damage(order: tuple[int, ...]) -> None:
    batches = [encode_batch(number, body) for number, body in enumerate(BODIES, start=1)]
    data = b"".join(batches[i] for i in order).ljust(RESERVE_BYTES, b"\0")
    with pytest.raises(StorageError, match="out of place"):
        decode_batches(data, PATH)


def test_what_is_said_names_file_place_and_remedy() -> None:
    damaged = WHOLE[:1030] + b"!" + WHOLE[1031:]
    with pytest.raises(StorageError) as raised:
        decode_batches(damaged, PATH)
    assert str(raised.value) == (
        "/d/journal is damaged (the sector at byte 1024 fails its checksum): this node does not "
        "vote with it; run `rbcluster reset-node` while a majority of the other nodes is up, and "
        "it fetches everything from them"
    )
