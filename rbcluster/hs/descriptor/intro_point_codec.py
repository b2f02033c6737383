"""One introduction point in a descriptor's inner layer: its lines and its certificates.

    introduction-point            (link specifiers)
    onion-key ntor                (the relay's)
    auth-key                      (the descriptor signing key vouches for the auth key)
    enc-key ntor
    enc-key-cert                  (it vouches for the enc key, in Ed25519 form)

Spec: rend-spec-v3 2.5.2.2 (introduction points).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rbcluster.hs.certificate import CERT_ARMOUR, Certificate, CertType, create_certificate
from rbcluster.hs.descriptor.document import Item, Section, encode_base64, encode_item
from rbcluster.hs.descriptor.enc_key_form import derive_ed25519_form
from rbcluster.hs.descriptor.link_specifiers import encode_link_specifiers, parse_link_specifiers
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.hs.keys import (
    DescriptorSigningKey,
    DescriptorSigningKeypair,
    IntroAuthKey,
    IntroEncKey,
    RelayNtorKey,
)
from rbcluster.hs.params import KEY_BYTES

_NTOR = "ntor"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPoint:
    """An introduction point as a descriptor lists it, its certificates verified."""

    point: IntroPoint
    certs_expire_at: datetime  # aware UTC; the earlier of its two certificates


def parse_intro_point(section: Section, signing_key: DescriptorSigningKey) -> ListedPoint:
    """Read one introduction point and verify its certificates. Unknown lines are ignored.

    That the certified form is the enc key's own is not checked: clients take the key from the
    ``enc-key`` line, which the descriptor's signature covers, and publishers other than tor are
    known to certify another key.

    :param section: from its ``introduction-point`` line up to the next one's.
    :raises ParseError: if a line is missing, doubled or malformed.
    :raises VerificationError: if a certificate is not by the descriptor signing key.
    """
    start = section.one("introduction-point")
    specifiers = start.base64(0)
    auth_cert = _verify_certificate(section.one("auth-key"), CertType.INTRO_AUTH, signing_key)
    enc_cert = _verify_certificate(section.one("enc-key-cert"), CertType.INTRO_ENC, signing_key)
    onion_key, enc_key = (_read_ntor(section, keyword) for keyword in ("onion-key", "enc-key"))
    with start.placed():
        link_specifiers = parse_link_specifiers(specifiers)
    try:
        point = IntroPoint(
            link_specifiers=link_specifiers,
            onion_key=RelayNtorKey(onion_key),
            auth_key=IntroAuthKey(auth_cert.certified_key),
            enc_key=IntroEncKey(enc_key),
        )
    except ValueError as error:
        raise start.fault(str(error)) from error
    return ListedPoint(point=point, certs_expire_at=min(auth_cert.expires_at, enc_cert.expires_at))


def encode_intro_point(
    point: IntroPoint, signer: DescriptorSigningKeypair, expires_at: datetime
) -> str:
    """Write one introduction point, its keys certified anew.

    :param expires_at: when both certificates expire; aware UTC, rounded up to a full hour.
    """
    enc_form = derive_ed25519_form(point.enc_key)
    auth_cert = create_certificate(CertType.INTRO_AUTH, point.auth_key.raw, signer, expires_at)
    enc_cert = create_certificate(CertType.INTRO_ENC, enc_form, signer, expires_at)
    specifiers = encode_base64(encode_link_specifiers(point.link_specifiers))
    return "".join(
        (
            encode_item("introduction-point", specifiers),
            encode_item("onion-key", _NTOR, encode_base64(point.onion_key.raw)),
            encode_item("auth-key", armour=CERT_ARMOUR, data=auth_cert),
            encode_item("enc-key", _NTOR, encode_base64(point.enc_key.raw)),
            encode_item("enc-key-cert", armour=CERT_ARMOUR, data=enc_cert),
        )
    )


def _verify_certificate(
    item: Item, cert_type: CertType, signing_key: DescriptorSigningKey
) -> Certificate:
    data = item.object(CERT_ARMOUR)
    with item.placed():
        certificate = Certificate.from_bytes(data)
        certificate.verify(cert_type, signing_key)
    return certificate


def _read_ntor(section: Section, keyword: str) -> bytes:
    """Read the X25519 key (32 bytes) of the one line of this keyword that has one."""
    items = section.some(keyword)
    ntor = [item for item in items if item.arg(0) == _NTOR]
    if len(ntor) != 1:
        raise items[-1].fault(f"{len(ntor)} {_NTOR} keys stand where one belongs")
    return ntor[0].base64(1, KEY_BYTES)
