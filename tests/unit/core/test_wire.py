from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from rbcluster.core.wire import (
    BOOLEAN,
    Codec,
    Wire,
    enum_of,
    from_bytes,
    integer,
    mapping,
    octets,
    optional,
    pair,
    record,
    sequence,
    set_of,
    text,
    to_bytes,
    wrapped,
)


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Pebble:
    weight: int
    name: str

    def __post_init__(self) -> None:
        if self.weight == 13:
            raise ValueError("13 brings bad luck")


PEBBLE = record(Pebble, weight=integer(0, 20), name=text(1, 5))


@pytest.mark.parametrize(
    ("codec", "value", "wire"),
    [
        (integer(0, 5), 0, 0),
        (integer(0, 5), 5, 5),
        (octets(2, 3), b"ab", b"ab"),
        (text(2, 3), "äöü", "äöü"),
        (BOOLEAN, True, True),
        (enum_of(Colour), Colour.RED, "red"),
        (optional(BOOLEAN), None, None),
        (optional(BOOLEAN), False, False),
        (sequence(BOOLEAN, 2), (True, False), [True, False]),
        (pair(BOOLEAN, integer(0, 5)), (True, 1), [True, 1]),
        (mapping(text(1, 1), BOOLEAN, 2), {"b": True, "a": False}, [["a", False], ["b", True]]),
        (set_of(integer(0, 300), 3), frozenset({300, 2, 1}), [1, 2, 300]),
        (wrapped(integer(0, 5), str, int), "4", 4),
        (PEBBLE, Pebble(1, "grey"), [1, "grey"]),
    ],
)
def test_a_value_has_one_wire_form_and_comes_back_from_it(
    codec: Codec[Any], value: object, wire: Wire
) -> None:
    assert codec.pack(value) == wire
    assert codec.unpack(wire) == value
    assert from_bytes(to_bytes(wire)) == wire


@pytest.mark.parametrize(
    ("codec", "wire", "complaint"),
    [
        (integer(0, 5), 6, "6 is not within 0..5"),
        (integer(0, 5), -1, "-1 is not within 0..5"),
        (integer(0, 5), True, "bool found, not int"),
        (octets(2, 3), b"a", "1 long, not 2..3"),
        (octets(2, 3), b"abcd", "4 long, not 2..3"),
        (octets(2, 3), "ab", "str found, not bytes"),
        (text(2, 3), "a", "1 long, not 2..3"),
        (text(2, 3), b"ab", "bytes found, not str"),
        (text(2, 3), "a\n", r"'a\\n' holds unprintable characters"),
        (BOOLEAN, 1, "int found, not bool"),
        (enum_of(Colour), "blue", "'blue' is not a valid Colour"),
        (enum_of(Colour), [1], "not a valid Colour"),
        (optional(BOOLEAN), 0, "int found, not bool"),
        (sequence(BOOLEAN, 2), [True] * 3, "3 long, not 0..2"),
        (sequence(BOOLEAN, 2), None, "NoneType found, not list"),
        (pair(BOOLEAN, BOOLEAN), [True], "1 long, not 2..2"),
        (mapping(text(1, 1), BOOLEAN, 1), [["a", True], ["b", True]], "2 long, not 0..1"),
        (mapping(text(1, 1), BOOLEAN, 2), [["b", True], ["a", True]], "not sorted"),
        (mapping(text(1, 1), BOOLEAN, 2), [["a", True], ["a", False]], "given twice"),
        (set_of(integer(0, 5), 3), [2, 1], "not sorted"),
        (set_of(integer(0, 5), 3), [1, 1], "given twice"),
        (set_of(integer(0, 5), 1), [1, 2], "2 long, not 0..1"),
        (PEBBLE, [1], "1 long, not 2..2"),
        (PEBBLE, [1, "grey", 1], "3 long, not 2..2"),
        (PEBBLE, [21, "grey"], "weight: 21 is not within 0..20"),
        (PEBBLE, [13, "grey"], "13 brings bad luck"),
    ],
)
def test_a_wrong_wire_value_is_refused_with_its_place(
    codec: Codec[Any], wire: Wire, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        codec.unpack(wire)


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (integer(0, 5), 6),
        (octets(0, 1), b"ab"),
        (text(0, 1), "ab"),
        (sequence(BOOLEAN, 1), (True, True)),
        (mapping(text(1, 1), BOOLEAN, 1), {"a": True, "b": True}),
        (set_of(integer(0, 5), 1), frozenset({1, 2})),
        (PEBBLE, Pebble(21, "grey")),
    ],
)
def test_what_could_not_be_read_is_not_written(codec: Codec[Any], value: object) -> None:
    with pytest.raises(ValueError, match=r"not within|long, not"):
        codec.pack(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",  # the byte that msgpack never uses
        b"\x91",  # an array without its element
        b"\x01\x02",  # two values
        b"\x81\xa1a\x01",  # a map
        b"\xd4\x05\x00",  # an extension type
        b"\xa1\xff",  # text that is not UTF-8
        b"\xdd\xff\xff\xff\xff",  # an array of four billion
        b"\x91" * 10_000,  # nested too deep
    ],
)
def test_bytes_that_are_not_one_plain_msgpack_value_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_bytes(data)


def test_text_that_is_not_utf8_is_refused_in_writing() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        to_bytes("\ud800")
