from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ParseError
from rbcluster.hs.descriptor.middle import (
    AuthClient,
    EphemeralKey,
    MiddleLayer,
    encode_middle,
    parse_middle,
)

CLIENTS = st.builds(
    AuthClient,
    client_id=st.binary(min_size=8, max_size=8),
    iv=st.binary(min_size=16, max_size=16),
    cookie=st.binary(min_size=16, max_size=16),
)
LAYER = MiddleLayer(
    ephemeral_key=EphemeralKey(bytes(range(32))),
    clients=tuple(
        AuthClient(client_id=bytes([i]) * 8, iv=bytes([i]) * 16, cookie=bytes([i]) * 16)
        for i in range(16)
    ),
    encrypted=bytes(300),
)
TEXT = encode_middle(LAYER)
UNPADDED = TEXT.rstrip(b"\0")


@given(clients=st.lists(CLIENTS, min_size=1, max_size=32), encrypted=st.binary(max_size=1000))
def test_the_middle_layer_is_read_as_it_was_written(
    clients: list[AuthClient], encrypted: bytes
) -> None:
    layer = MiddleLayer(
        ephemeral_key=LAYER.ephemeral_key, clients=tuple(clients), encrypted=encrypted
    )
    text = encode_middle(layer)
    assert parse_middle(text) == layer
    assert parse_middle(text.rstrip(b"\0")) == layer


@pytest.mark.parametrize("num_bytes", [1, 5_000, 6_000, 12_000])
def test_padding_reaches_the_next_multiple_of_10000(num_bytes: int) -> None:
    layer = MiddleLayer(
        ephemeral_key=LAYER.ephemeral_key, clients=LAYER.clients, encrypted=bytes(num_bytes)
    )
    text = encode_middle(layer)
    assert len(text) % 10_000 == 0
    assert 0 <= len(text) - len(text.rstrip(b"\0")) < 10_000


def test_text_of_just_10000_bytes_is_not_padded() -> None:
    sizes = {
        len(text.rstrip(b"\0")): len(text)
        for text in (
            encode_middle(
                MiddleLayer(
                    ephemeral_key=LAYER.ephemeral_key,
                    clients=LAYER.clients,
                    encrypted=bytes(num_bytes),
                )
            )
            for num_bytes in range(6_300, 6_800)
        )
    }
    at_most, above = max(n for n in sizes if n <= 10_000), min(n for n in sizes if n > 10_000)
    assert (sizes[at_most], sizes[above]) == (10_000, 20_000)


def test_lines_are_those_of_tor() -> None:
    lines = UNPADDED.decode().split("\n")
    assert lines[0] == "desc-auth-type x25519"
    assert lines[1] == "desc-auth-ephemeral-key AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert all(
        re.fullmatch("auth-client [^ =]{11} [^ =]{22} [^ =]{22}", line) for line in lines[2:18]
    )
    assert lines[18:20] == ["encrypted", "-----BEGIN MESSAGE-----"]
    assert lines[-1] == "-----END MESSAGE-----"


def edited(old: bytes, new: bytes) -> bytes:
    assert old in UNPADDED
    return UNPADDED.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"desc-auth-type x25519\n", b"", "first line is not 'desc-auth-type'"),
        (b"x25519", b"x448", "'x448' is not 'x25519'"),
        (b"x25519", b"", "arguments are too few"),
        (b"desc-auth-type x25519\n", b"desc-auth-type x25519\n" * 2, "a second time"),
        (b"desc-auth-ephemeral-key", b"other", "line 'desc-auth-ephemeral-key' is missing"),
        (b"AAECAwQF", b"", "26 bytes stand where 32 belong"),
        (b"auth-client", b"other", "line 'auth-client' is missing"),
        (b" AQEBAQEBAQEBAQEBAQEBAQ\n", b"\n", "arguments are too few"),
        (b"AQEBAQEBAQE ", b"AQEBAQEBA! ", "base64"),
        (b"\nencrypted", b"\nother", "line 'encrypted' is missing"),
        (b"MESSAGE", b"PARCEL", "'MESSAGE' belongs here"),
        (b"-----END MESSAGE-----", b"", "the object has no end"),
    ],
)
def test_a_wrong_line_is_refused_by_name(old: bytes, new: bytes, what: str) -> None:
    with pytest.raises(ParseError, match=f"middle layer.*{what}.*; fetch"):
        parse_middle(edited(old, new))


def test_unknown_lines_are_ignored() -> None:
    assert parse_middle(edited(b"\nencrypted", b"\nunheard-of 1\nencrypted")) == LAYER


@given(position=st.integers(0, len(UNPADDED) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_read_or_a_parse_error(position: int, byte: int) -> None:
    changed = bytearray(UNPADDED)
    changed[position] = byte
    try:
        middle = parse_middle(bytes(changed))
    except ParseError:
        return
    assert middle.clients
