from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import (
    DescriptorError,
    DescriptorLimitError,
    ParseError,
    VerificationError,
)
from rbcluster.hs.certificate import CertType, create_certificate
from rbcluster.hs.descriptor.document import encode_item
from rbcluster.hs.descriptor.outer import encode_outer, parse_outer
from rbcluster.hs.keys import BlindedKeypair, DescriptorSigningKeypair
from rbcluster.hs.revision import RevisionCounter

BLINDED = BlindedKeypair(DescriptorSigningKeypair.from_seed(bytes(32)).secret)
SIGNER = DescriptorSigningKeypair.from_seed(bytes([1]) * 32)
EXPIRES_AT = datetime(2026, 2, 8, 0, tzinfo=UTC)
CERTIFICATE = create_certificate(
    CertType.DESCRIPTOR_SIGNING, SIGNER.public.raw, BLINDED, EXPIRES_AT
)
DOCUMENT = encode_outer(
    signer=SIGNER,
    certificate=CERTIFICATE,
    revision=RevisionCounter(2**64 - 1),
    superencrypted=bytes(500),
)
KEYWORDS = [
    "hs-descriptor",
    "descriptor-lifetime",
    "descriptor-signing-key-cert",
    "revision-counter",
    "superencrypted",
    "signature",
]


def item(keyword: str) -> bytes:
    """Cut a line and its object out of the document."""
    following = KEYWORDS[KEYWORDS.index(keyword) + 1]
    found = re.search(rf"(?s)({keyword}.*\n){following}", DOCUMENT.decode())
    assert found is not None
    return found[1].encode()


def signed_again(old: bytes, new: bytes) -> bytes:
    """Replace a part of the text as whoever holds the signing key could."""
    assert old in DOCUMENT
    body = DOCUMENT.partition(b"signature ")[0].replace(old, new)
    signature = SIGNER.sign(b"Tor onion service descriptor sig v3" + body)
    return body + b"signature " + b64encode(signature).rstrip(b"=") + b"\n"


def test_the_outer_layer_is_read_as_it_was_written() -> None:
    outer = parse_outer(DOCUMENT)
    assert outer.lifetime == timedelta(minutes=180)
    assert outer.blinded_key == BLINDED.public
    assert outer.signing_key == SIGNER.public
    assert outer.cert_expires_at == EXPIRES_AT
    assert outer.revision == 2**64 - 1
    assert outer.superencrypted == bytes(500)


def test_lines_stand_in_the_order_of_the_spec() -> None:
    assert re.findall(r"(?m)^([a-z-]{9,27})(?: .*)?$", DOCUMENT.decode()) == KEYWORDS


def test_the_last_newline_may_be_missing() -> None:
    assert parse_outer(DOCUMENT[:-1]) == parse_outer(DOCUMENT)


@given(position=st.integers(0, len(DOCUMENT) - 2), change=st.integers(1, 255))
def test_a_changed_byte_is_refused(position: int, change: int) -> None:
    changed = bytearray(DOCUMENT)
    changed[position] ^= change
    with pytest.raises(DescriptorError):
        parse_outer(bytes(changed))


@given(length=st.integers(0, len(DOCUMENT) - 2))
def test_a_cut_document_is_refused(length: int) -> None:
    with pytest.raises(DescriptorError):
        parse_outer(DOCUMENT[:length])


@given(data=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DescriptorError):
        parse_outer(data)
    with pytest.raises(DescriptorError):
        parse_outer(b"hs-descriptor 3\n" + data)


@pytest.mark.parametrize("keyword", KEYWORDS[1:5])
def test_a_missing_or_doubled_line_is_refused_by_name(keyword: str) -> None:
    with pytest.raises(ParseError, match=f"outer layer: the line '{keyword}' is missing; fetch"):
        parse_outer(signed_again(item(keyword), b""))
    with pytest.raises(ParseError, match=rf"'{keyword}'\): the line stands here a second time"):
        parse_outer(signed_again(item(keyword), item(keyword) * 2))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b"hs-descriptor 3", b"hs-descriptor 4", "'4' is not version 3"),
        (b"hs-descriptor 3", b"hs-descriptor", "arguments are too few"),
        (b"hs-descriptor 3", b"first\nhs-descriptor 3", "first line is not 'hs-descriptor'"),
        (b"lifetime 180", b"lifetime 721", "'721' is no number up to 720"),
        (b"counter 18446744073709551615", b"counter 18446744073709551616", "no number up to"),
        (b"counter 18446744073709551615", b"counter -1", "no number up to"),
        (b"ED25519 CERT", b"RSA CERT", "an object 'ED25519 CERT' belongs here, not 'RSA CERT'"),
        (b"MESSAGE", b"PARCEL", "an object 'MESSAGE' belongs here, not 'PARCEL'"),
    ],
)
def test_a_wrong_line_is_refused_by_name(old: bytes, new: bytes, what: str) -> None:
    with pytest.raises(ParseError, match=f"{what}.*; fetch the descriptor again"):
        parse_outer(signed_again(old, new))


def test_an_unknown_line_is_ignored() -> None:
    document = signed_again(b"superencrypted\n", b"unheard-of 1 2\nsuperencrypted\n")
    assert parse_outer(document) == parse_outer(DOCUMENT)


def test_a_line_after_the_signature_is_refused() -> None:
    with pytest.raises(ParseError, match="a line stands after the signature"):
        parse_outer(DOCUMENT + b"more\n")


def test_a_wrong_signature_is_refused_with_its_place() -> None:
    other = item("revision-counter").replace(b"18446744073709551615", b"7")
    with pytest.raises(
        VerificationError, match=r"outer layer, line \d+ \('signature'\): .*; fetch"
    ):
        parse_outer(DOCUMENT.replace(item("revision-counter"), other))


def test_a_certificate_by_another_key_than_it_names_is_refused() -> None:
    forged = CERTIFICATE[:-64] + SIGNER.sign(CERTIFICATE[:-64])
    new = encode_item("descriptor-signing-key-cert", armour="ED25519 CERT", data=forged).encode()
    with pytest.raises(VerificationError, match="'descriptor-signing-key-cert'"):
        parse_outer(signed_again(item("descriptor-signing-key-cert"), new))


def test_a_document_of_50000_bytes_is_refused_both_ways() -> None:
    with pytest.raises(DescriptorLimitError, match="has 50000 bytes, and HSDirs take less"):
        parse_outer(DOCUMENT + b"\n" * (50_000 - len(DOCUMENT)))
    with pytest.raises(DescriptorLimitError, match="list fewer introduction points"):
        encode_outer(
            signer=SIGNER,
            certificate=CERTIFICATE,
            revision=RevisionCounter(0),
            superencrypted=bytes(40_000),
        )


def test_a_document_of_49999_bytes_is_read() -> None:
    parse_outer(DOCUMENT + b"\n" * (49_999 - len(DOCUMENT)))
