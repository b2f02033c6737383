from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ParseError, VerificationError
from rbcluster.hs.descriptor.document import Item, Layer, Section, encode_base64, encode_item

WORDS = st.from_regex(r"[!-,.-~]+", fullmatch=True)  # no hyphen: no line that looks like armour


def parse(text: str) -> Section:
    return Section.parse(text.encode(), Layer.INNER)


def only_item(text: str) -> Item:
    (item,) = parse(text).items
    return item


@given(keyword=WORDS, args=st.lists(WORDS), data=st.binary(max_size=300), armoured=st.booleans())
def test_an_item_is_read_as_it_was_written(
    keyword: str, args: list[str], data: bytes, *, armoured: bool
) -> None:
    armour = "MESSAGE" if armoured else None
    item = only_item(encode_item(keyword, *args, armour=armour, data=data))
    assert (item.keyword, item.args, item.armour) == (keyword, tuple(args), armour)
    assert item.data == (data if armoured else b"")


def test_armour_has_lines_of_64_characters() -> None:
    lines = encode_item("encrypted", armour="MESSAGE", data=bytes(48 + 1)).splitlines()
    assert [len(line) for line in lines] == [9, 23, 64, 4, 21]


@pytest.mark.parametrize("arg", ["", "a b", "a\nb", "a\0", "ä", "a\r"])
def test_an_argument_cannot_smuggle_in_a_line(arg: str) -> None:
    with pytest.raises(ParseError, match="not one printable ASCII word"):
        encode_item("flow-control", arg)


def test_items_carry_their_place() -> None:
    places = [item.place for item in parse("one 1\n\ntwo\ttab  twice\n").items]
    assert places == ["inner layer, line 1 ('one')", "inner layer, line 3 ('two')"]


def test_empty_lines_are_skipped_and_tabs_and_doubled_spaces_separate() -> None:
    assert only_item("\n\ntwo\ttab  twice\n\n").args == ("tab", "twice")


def test_a_blank_line_is_an_item_without_a_keyword() -> None:
    assert only_item(" ").keyword == ""


@given(data=st.binary(max_size=100))
def test_base64_is_read_padded_or_not(data: bytes) -> None:
    for padded in (True, False):
        if word := encode_base64(data, padded=padded):
            assert only_item(f"key {word}").base64(0, len(data)) == data


@pytest.mark.parametrize("word", ["AB", "A", "AAA=A", "A!==", "AA===", "====", "ä"])
def test_only_canonical_base64_is_read(word: str) -> None:
    with pytest.raises(ParseError, match="base64; fetch the descriptor again"):
        only_item(f"key {word}").base64(0)


def test_base64_of_another_length_is_refused() -> None:
    with pytest.raises(ParseError, match=r"line 1 \('key'\): 3 bytes stand where 32 belong"):
        only_item("key AAAA").base64(0, 32)


@pytest.mark.parametrize("word", ["-1", "256", "1.0", "", "٣", "0x1", "9" * 5000])
def test_a_number_is_ascii_digits_within_its_limit(word: str) -> None:
    with pytest.raises(ParseError):
        only_item(f"revision-counter {word}").number(0, 255)


def test_the_largest_number_is_read() -> None:
    assert only_item(f"revision-counter {2**64 - 1}").number(0, 2**64 - 1) == 2**64 - 1


def test_a_missing_argument_is_refused() -> None:
    with pytest.raises(ParseError, match="1 arguments are too few"):
        only_item("flow-control 1-2").number(1, 255)


def test_an_object_needs_its_label() -> None:
    item = only_item("auth-key\n-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----")
    assert item.object("OTHER") == bytes(3)
    with pytest.raises(ParseError, match="'ED25519 CERT' belongs here, not 'OTHER'"):
        item.object("ED25519 CERT")
    with pytest.raises(ParseError, match="not None"):
        only_item("auth-key").object("ED25519 CERT")


@pytest.mark.parametrize("end", ["", "\n-----END OTHER-----", "\n-----END MESSAGE"])
def test_an_object_without_its_end_is_refused(end: str) -> None:
    with pytest.raises(ParseError, match="the object has no end"):
        parse("encrypted\n-----BEGIN MESSAGE-----\nAAAA" + end)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(ParseError, match="inner layer: byte 3 is not UTF-8"):
        Section.parse(b"one\xff", Layer.INNER)


def test_missing_and_doubled_lines_are_named() -> None:
    section = parse("one\ntwo\ntwo\n")
    assert section.one("one").keyword == "one"
    assert section.optional("three") is None
    with pytest.raises(ParseError, match="inner layer: the line 'three' is missing"):
        section.one("three")
    with pytest.raises(ParseError, match=r"inner layer, line 3 \('two'\): .* a second time"):
        section.one("two")
    with pytest.raises(ParseError, match="a second time"):
        section.optional("two")
    with pytest.raises(ParseError, match="the first line is not 'two'"):
        section.starting_with("two")
    with pytest.raises(ParseError, match="the first line is not 'one'"):
        parse("").starting_with("one")


def test_a_section_is_cut_before_each_keyword() -> None:
    head, parts = parse("a\nip 1\nb\nip 2\n").split_at("ip")
    assert [item.keyword for item in head.items] == ["a"]
    assert [[item.keyword for item in part.items] for part in parts] == [["ip", "b"], ["ip"]]
    with pytest.raises(ParseError, match=r"line 4 \('ip'\): the line 'b' is missing"):
        parts[1].one("b")


def test_a_section_without_the_keyword_stays_whole() -> None:
    head, parts = parse("a\nb\n").split_at("ip")
    assert (len(head.items), parts) == (2, ())


def test_an_error_from_below_gets_its_place_and_keeps_its_class() -> None:
    with (
        pytest.raises(VerificationError, match=r"line 1 \('one'\): wrong; fetch") as caught,
        only_item("one").placed(),
    ):
        raise VerificationError("wrong")
    assert isinstance(caught.value.__cause__, VerificationError)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_items_or_a_parse_error(data: bytes) -> None:
    try:
        section = Section.parse(data, Layer.OUTER)
    except ParseError:
        return
    assert all(isinstance(item, Item) for item in section.items)
