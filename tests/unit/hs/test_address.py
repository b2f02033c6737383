"""Onion addresses: known ones, mistyped ones, and anything a person might paste."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ParseError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKey, IdentityKeypair

LABEL = "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid"
IDENTITY = IdentityKey(
    bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
)


def test_a_known_key_has_the_known_address() -> None:
    address = OnionAddress(IDENTITY)
    assert address.label == LABEL
    assert str(address) == LABEL + ".onion"


@pytest.mark.parametrize(
    "text", [LABEL, LABEL + ".onion", LABEL.upper() + ".ONION", f"  {LABEL}.onion\n"]
)
def test_an_address_is_read_however_it_is_written(text: str) -> None:
    assert OnionAddress.parse(text) == OnionAddress(IDENTITY)


@given(seed=st.binary(min_size=32, max_size=32))
def test_an_address_survives_its_text(seed: bytes) -> None:
    address = OnionAddress(IdentityKeypair.from_seed(seed).public)
    assert OnionAddress.parse(str(address)) == address
    assert OnionAddress.parse(address.label) == address


@given(position=st.integers(0, 55), letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_wrong_letter_is_noticed(position: int, letter: str) -> None:
    typed = LABEL[:position] + letter + LABEL[position + 1 :]
    if typed == LABEL:
        assert OnionAddress.parse(typed).identity == IDENTITY
    else:
        with pytest.raises(ParseError, match=r"checksum|version"):
            OnionAddress.parse(typed)


@pytest.mark.parametrize(
    "label",
    [
        "l5satjgud6gucryazcyvyvhuxhr74u6ygigiuyixe3a6ysis67ororad",
        "btojiu7nu5y5iwut64eufevogqdw4wmqzugnoluw232r4t3ecsfv37ad",
    ],
)
def test_addresses_that_tor_refuses_for_their_checksum_are_refused(label: str) -> None:
    with pytest.raises(ParseError, match="wrong checksum"):
        OnionAddress.parse(label)


@pytest.mark.parametrize("text", ["", "blah", LABEL[:-1], LABEL + "b", "facebookcorewwwi.onion"])
def test_an_address_of_wrong_length_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="characters, not 56"):
        OnionAddress.parse(text)


@pytest.mark.parametrize("text", ["?" * 56, "0" + LABEL[1:], "é" * 56, "=" * 56])
def test_an_address_that_is_not_base32_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="not base32"):
        OnionAddress.parse(text)


def test_an_address_of_another_version_is_refused() -> None:
    raw = base64.b32decode(LABEL.upper())
    label = base64.b32encode(raw[:-1] + b"\x04").decode()
    with pytest.raises(ParseError, match="version 4, not 3"):
        OnionAddress.parse(label)


@given(text=st.text(max_size=70) | st.text(min_size=56, max_size=56))
def test_any_text_is_an_address_or_a_parse_error(text: str) -> None:
    with contextlib.suppress(ParseError):
        assert len(OnionAddress.parse(text).label) == 56


def test_the_form_for_logs_names_a_service_but_does_not_lead_there() -> None:
    shortened = OnionAddress(IDENTITY).shortened()
    assert shortened.startswith(LABEL[:6])
    assert shortened.endswith(".onion")
    assert len(shortened) < 20


def test_address_of_an_impossible_key_is_refused() -> None:
    label = OnionAddress(IdentityKey(bytes([2]) + bytes(31))).label
    with pytest.raises(ParseError, match="names no possible key"):
        OnionAddress.parse(label)
