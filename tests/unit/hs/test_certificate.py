from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ParseError, VerificationError
from rbcluster.hs.certificate import Certificate, CertType, create_certificate
from rbcluster.hs.keys import (
    BlindedKey,
    DescriptorSigningKey,
    DescriptorSigningKeypair,
    IdentityKeypair,
)

SIGNER = DescriptorSigningKeypair.from_seed(bytes(range(32)))
CERTIFIED = bytes([7]) * 32
EXPIRES_AT = datetime(2026, 2, 8, 0, tzinfo=UTC)
ENCODED = create_certificate(CertType.INTRO_AUTH, CERTIFIED, SIGNER, EXPIRES_AT)
HEAD_BYTES = 40  # up to and with the number of extensions


def with_extensions(*extensions: bytes, count: int | None = None) -> bytes:
    number = len(extensions) if count is None else count
    return ENCODED[: HEAD_BYTES - 1] + bytes([number]) + b"".join(extensions) + bytes(64)


def test_a_certificate_is_read_as_it_was_written() -> None:
    certificate = Certificate.from_bytes(ENCODED)
    assert certificate.type == CertType.INTRO_AUTH
    assert certificate.certified_key == CERTIFIED
    assert certificate.signing_key == SIGNER.public.raw
    assert certificate.expires_at == EXPIRES_AT
    certificate.verify(CertType.INTRO_AUTH, SIGNER.public)


def test_a_certificate_has_the_layout_of_cert_spec() -> None:
    hours = int(EXPIRES_AT.timestamp()) // 3600
    extension = bytes([0, 32, 4, 0]) + SIGNER.public.raw
    assert ENCODED[:-64] == (
        bytes([1, 9]) + hours.to_bytes(4) + bytes([1]) + CERTIFIED + bytes([1]) + extension
    )
    SIGNER.public.verify(ENCODED[-64:], ENCODED[:-64])


@pytest.mark.parametrize("late_s", [1, 1800, 3599])
def test_expiry_is_rounded_up_to_a_full_hour(late_s: int) -> None:
    expires_at = EXPIRES_AT + timedelta(seconds=late_s)
    encoded = create_certificate(CertType.INTRO_AUTH, CERTIFIED, SIGNER, expires_at)
    assert Certificate.from_bytes(encoded).expires_at == EXPIRES_AT + timedelta(hours=1)


def test_a_certificate_of_another_type_is_refused() -> None:
    with pytest.raises(VerificationError, match="type 9 stands where type 11 belongs"):
        Certificate.from_bytes(ENCODED).verify(CertType.INTRO_ENC, SIGNER.public)


def test_a_certificate_by_another_key_is_refused() -> None:
    other = DescriptorSigningKeypair.from_seed(bytes(32)).public
    with pytest.raises(VerificationError, match="not by this DescriptorSigningKey"):
        Certificate.from_bytes(ENCODED).verify(CertType.INTRO_AUTH, other)


def test_a_blinded_key_certifies_too() -> None:
    keypair = IdentityKeypair.from_seed(bytes(32))
    encoded = create_certificate(CertType.DESCRIPTOR_SIGNING, CERTIFIED, keypair, EXPIRES_AT)
    key = BlindedKey(keypair.public_bytes())
    Certificate.from_bytes(encoded).verify(CertType.DESCRIPTOR_SIGNING, key)


@given(position=st.integers(0, len(ENCODED) - 1), change=st.integers(1, 255))
def test_a_changed_byte_is_refused(position: int, change: int) -> None:
    changed = bytearray(ENCODED)
    changed[position] ^= change
    with pytest.raises((ParseError, VerificationError)):
        Certificate.from_bytes(bytes(changed)).verify(CertType.INTRO_AUTH, SIGNER.public)


@given(length=st.integers(0, len(ENCODED) - 1))
def test_a_cut_certificate_is_refused(length: int) -> None:
    with pytest.raises(ParseError):
        Certificate.from_bytes(ENCODED[:length])


@given(data=st.binary(max_size=400))
def test_any_bytes_are_a_certificate_or_a_parse_error(data: bytes) -> None:
    try:
        certificate = Certificate.from_bytes(data)
    except ParseError:
        return
    DescriptorSigningKey(certificate.signing_key)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (bytes([2]) + ENCODED[1:], "version 2 over a key of kind 1"),
        (ENCODED[:6] + bytes([3]) + ENCODED[7:], "version 1 over a key of kind 3"),
        (ENCODED[:2] + b"\xff\xff\xff\xff" + ENCODED[6:], "4294967295 hours, out of range"),
        (ENCODED + b"x", "1 bytes too many"),
        (with_extensions(), "does not name its signing key"),
        (with_extensions(bytes([0, 0, 9, 1])), "unknown but binding extension 9"),
        (with_extensions(bytes([0, 9, 9, 0])), "extensions are cut short"),
        (with_extensions(bytes([0, 9])), "extensions are cut short"),
        (with_extensions(bytes([0, 1, 4, 0, 7])), "not in 32 bytes"),
        (
            with_extensions(bytes([0, 32, 4, 0]) + bytes(32), bytes([0, 32, 4, 0]) + bytes(32)),
            "twice",
        ),
    ],
)
def test_a_malformed_certificate_is_refused_by_name(data: bytes, what: str) -> None:
    with pytest.raises(ParseError, match=what):
        Certificate.from_bytes(data)


def test_an_unknown_extension_that_does_not_bind_is_ignored() -> None:
    data = with_extensions(bytes([0, 2, 9, 0, 1, 2]), bytes([0, 32, 4, 0]) + SIGNER.public.raw)
    assert Certificate.from_bytes(data).signing_key == SIGNER.public.raw
