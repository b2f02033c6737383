from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ParseError
from rbcluster.hs.descriptor.link_specifiers import (
    encode_link_specifiers,
    parse_link_specifiers,
    relay_addresses,
    relay_ed25519_id,
)
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType

UNKNOWN = st.builds(LinkSpecifier, st.integers(4, 255), st.binary(max_size=255))
IPV6 = LinkSpecifier(LinkType.IPV6, bytes.fromhex("20010db8") + bytes(11) + b"\x01\x23\x29")


@given(st.lists(UNKNOWN, max_size=255).map(tuple))
def test_specifiers_are_read_as_they_were_written(specifiers: tuple[LinkSpecifier, ...]) -> None:
    assert parse_link_specifiers(encode_link_specifiers(specifiers)) == specifiers


def test_the_layout_is_that_of_extend2() -> None:
    assert encode_link_specifiers([LinkSpecifier(9, b"abc")]) == b"\x01\x09\x03abc"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x01", "cut short"),
        (b"\x01\x09", "cut short"),
        (b"\x01\x09\x03ab", "cut short"),
        (b"\x02\x09\x01a", "cut short"),
        (b"\x00x", "1 bytes follow"),
        (b"\x01\x00\x04abcd", "type 0 has 4 bytes"),
        (b"\x01\x01\x00", "type 1 has 0 bytes"),
        (b"\x01\x02\x01a", "type 2 has 1 bytes"),
        (b"\x01\x03\x01a", "type 3 has 1 bytes"),
    ],
)
def test_malformed_specifiers_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(ParseError, match=what):
        parse_link_specifiers(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_specifiers_or_a_parse_error(data: bytes) -> None:
    try:
        specifiers = parse_link_specifiers(data)
    except ParseError:
        return
    assert encode_link_specifiers(specifiers) == (data or b"\0")


def test_a_relay_is_named_by_its_addresses_and_identity(
    make_point: Callable[[int], IntroPoint],
) -> None:
    point = make_point(7)
    both = replace(point, link_specifiers=(*point.link_specifiers, IPV6))
    assert relay_addresses(both) == ("192.0.2.7:9001", "[2001:db8::1]:9001")
    identity = relay_ed25519_id(both)
    assert identity is not None
    assert identity.raw == point.link_specifiers[2].data


def test_a_relay_without_addresses_or_ed25519_identity_has_none(
    make_point: Callable[[int], IntroPoint],
) -> None:
    point = make_point(7)
    bare = replace(point, link_specifiers=point.link_specifiers[1:2])
    assert (relay_addresses(bare), relay_ed25519_id(bare)) == ((), None)
