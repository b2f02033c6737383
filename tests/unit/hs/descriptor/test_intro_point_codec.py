from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from rbcluster.errors import DescriptorError, ParseError, VerificationError
from rbcluster.hs.certificate import Certificate, CertType, create_certificate
from rbcluster.hs.descriptor.document import Layer, Section, encode_item
from rbcluster.hs.descriptor.enc_key_form import derive_ed25519_form
from rbcluster.hs.descriptor.intro_point_codec import (
    ListedPoint,
    encode_intro_point,
    parse_intro_point,
)
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.hs.keys import DescriptorSigningKeypair

SIGNER = DescriptorSigningKeypair.from_seed(bytes(32))
EXPIRES_AT = datetime(2026, 2, 8, 0, tzinfo=UTC)
PointMaker = Callable[[int], IntroPoint]


def parse(text: str) -> ListedPoint:
    return parse_intro_point(Section.parse(text.encode(), Layer.INNER), SIGNER.public)


def certificate_item(keyword: str, cert_type: CertType, **changes: object) -> str:
    """Write a certificate line, with another signer, key or expiry where `changes` say so."""
    arguments = {"certified_key": bytes(32), "signer": SIGNER, "expires_at": EXPIRES_AT} | changes
    data = create_certificate(cert_type, **arguments)  # type: ignore[arg-type]
    return encode_item(keyword, armour="ED25519 CERT", data=data)


def replaced(text: str, keyword: str, new: str) -> str:
    """Put another item in the place of that of a keyword."""
    section = Section.parse(text.encode(), Layer.INNER)
    return "".join(
        new
        if item.keyword == keyword
        else encode_item(item.keyword, *item.args, armour=item.armour, data=item.data)
        for item in section.items
    )


@pytest.fixture
def point(make_point: PointMaker) -> IntroPoint:
    return make_point(1)


@pytest.fixture
def text(point: IntroPoint) -> str:
    return encode_intro_point(point, SIGNER, EXPIRES_AT)


def test_a_point_is_read_as_it_was_written(point: IntroPoint, text: str) -> None:
    assert parse(text) == ListedPoint(point=point, certs_expire_at=EXPIRES_AT)


def test_both_keys_are_certified_as_tor_certifies_them(point: IntroPoint, text: str) -> None:
    section = Section.parse(text.encode(), Layer.INNER)
    auth, enc = (Certificate.from_bytes(section.one(k).data) for k in ("auth-key", "enc-key-cert"))
    assert (auth.type, auth.certified_key) == (9, point.auth_key.raw)
    assert (enc.type, enc.certified_key) == (0x0B, derive_ed25519_form(point.enc_key))
    assert {auth.expires_at, enc.expires_at} == {EXPIRES_AT}


def test_lines_stand_in_the_order_of_tor(text: str) -> None:
    items = Section.parse(text.encode(), Layer.INNER).items
    assert [(item.keyword, len(item.args), item.armour) for item in items] == [
        ("introduction-point", 1, None),
        ("onion-key", 2, None),
        ("auth-key", 0, "ED25519 CERT"),
        ("enc-key", 2, None),
        ("enc-key-cert", 0, "ED25519 CERT"),
    ]


@pytest.mark.parametrize("keyword", ["auth-key", "enc-key-cert"])
def test_the_earlier_expiry_of_the_two_certificates_counts(text: str, keyword: str) -> None:
    cert_type = CertType.INTRO_AUTH if keyword == "auth-key" else CertType.INTRO_ENC
    earlier = EXPIRES_AT - timedelta(hours=3)
    changed = replaced(text, keyword, certificate_item(keyword, cert_type, expires_at=earlier))
    assert parse(changed).certs_expire_at == earlier


@pytest.mark.parametrize(
    ("keyword", "cert_type"),
    [
        ("auth-key", CertType.INTRO_ENC),
        ("auth-key", CertType.DESCRIPTOR_SIGNING),
        ("enc-key-cert", CertType.INTRO_AUTH),
    ],
)
def test_a_certificate_made_for_another_purpose_is_refused(
    text: str, keyword: str, cert_type: CertType
) -> None:
    with pytest.raises(VerificationError, match=rf"inner layer, line \d+ \('{keyword}'\).*; fetch"):
        parse(replaced(text, keyword, certificate_item(keyword, cert_type)))


@pytest.mark.parametrize(
    ("keyword", "cert_type"),
    [("auth-key", CertType.INTRO_AUTH), ("enc-key-cert", CertType.INTRO_ENC)],
)
def test_a_certificate_by_another_key_is_refused(
    text: str, keyword: str, cert_type: CertType
) -> None:
    other = DescriptorSigningKeypair.from_seed(bytes([1]) * 32)
    with pytest.raises(VerificationError, match=keyword):
        parse(replaced(text, keyword, certificate_item(keyword, cert_type, signer=other)))


@pytest.mark.parametrize(
    "keyword", ["introduction-point", "onion-key", "auth-key", "enc-key", "enc-key-cert"]
)
def test_a_missing_or_doubled_line_is_refused(text: str, keyword: str) -> None:
    section = Section.parse(text.encode(), Layer.INNER)
    item = section.one(keyword)
    whole = encode_item(keyword, *item.args, armour=item.armour, data=item.data)
    for new in ("", whole * 2):
        with pytest.raises(ParseError, match=keyword):
            parse(replaced(text, keyword, new))


@pytest.mark.parametrize(
    ("keyword", "new", "what"),
    [
        ("introduction-point", "introduction-point\n", "arguments are too few"),
        ("introduction-point", "introduction-point AQ==\n", "cut short"),
        ("introduction-point", "introduction-point AA==\n", "names its relay once, not 0 times"),
        ("onion-key", "onion-key tap AAAA\n", "0 ntor keys"),
        ("onion-key", "onion-key ntor AAAA\n", "3 bytes stand where 32 belong"),
        ("onion-key", "onion-key ntor\n", "arguments are too few"),
        ("enc-key", "enc-key legacy\n", "0 ntor keys"),
        ("auth-key", "auth-key\n", "'ED25519 CERT' belongs here"),
        ("auth-key", encode_item("auth-key", armour="ED25519 CERT", data=b"x"), "cut short"),
    ],
)
def test_a_wrong_line_is_refused_by_name(text: str, keyword: str, new: str, what: str) -> None:
    with pytest.raises(DescriptorError, match=rf"\('{keyword}'\): .*{what}.*; fetch"):
        parse(replaced(text, keyword, new))


def test_onion_keys_of_other_kinds_may_stand_beside(point: IntroPoint, text: str) -> None:
    changed = text.replace("onion-key", "onion-key future AAAA\nonion-key")
    assert parse(changed).point == point
