"""A descriptor's outer layer: what an HSDir sees, checks and serves.

    hs-descriptor 3
    descriptor-lifetime 180
    descriptor-signing-key-cert   (the blinded key vouches for the descriptor signing key)
    revision-counter
    superencrypted                (the middle layer)
    signature                     (by the descriptor signing key, over all lines above)

Spec: rend-spec-v3 2.4 [DESC-OUTER].

Overview::

    OuterLayer    what it says
    parse_outer   read and verify it
    encode_outer  write and sign it
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from rbcluster.errors import DescriptorLimitError
from rbcluster.hs.certificate import CERT_ARMOUR, Certificate, CertType
from rbcluster.hs.descriptor.document import Item, Layer, Section, encode_base64, encode_item
from rbcluster.hs.keys import BlindedKey, DescriptorSigningKey, DescriptorSigningKeypair
from rbcluster.hs.params import (
    DESCRIPTOR_LIFETIME,
    HS_VERSION,
    MAX_DESCRIPTOR_BYTES,
    MAX_LIFETIME,
    MAX_REVISION,
    SIGNATURE_BYTES,
)
from rbcluster.hs.revision import RevisionCounter

_MESSAGE = "MESSAGE"
_MINUTE = timedelta(minutes=1)
_SIGNATURE_PREFIX = b"Tor onion service descriptor sig v3"


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterLayer:
    """What an HSDir sees of a descriptor, verified."""

    lifetime: timedelta  # how long an HSDir should serve it; whole minutes
    blinded_key: BlindedKey
    signing_key: DescriptorSigningKey
    cert_expires_at: datetime  # until when the blinded key vouches for the signing key; aware UTC
    revision: RevisionCounter
    superencrypted: bytes  # the middle layer, encrypted


def parse_outer(document: bytes) -> OuterLayer:
    """Read a descriptor's outer layer; verify its certificate and its signature.

    Unknown lines are ignored, but signed.

    :raises ParseError: if a line is missing, doubled or malformed.
    :raises VerificationError: if the certificate or the signature is wrong.
    :raises DescriptorLimitError: if the document is larger than HSDirs and clients take.
    """
    _check_size(document)
    section = Section.parse(document, Layer.OUTER).starting_with("hs-descriptor")
    version = section.one("hs-descriptor")
    if version.arg(0) != str(HS_VERSION):
        raise version.fault(f"{version.args[0][:32]!r} is not version {HS_VERSION}")
    signature = section.one("signature")
    if section.items[-1] is not signature:
        raise section.items[-1].fault("a line stands after the signature")
    certificate = _read_certificate(section.one("descriptor-signing-key-cert"))
    signing_key = DescriptorSigningKey(certificate.certified_key)
    body, newline, _ = document.partition(b"\nsignature ")
    signed = _SIGNATURE_PREFIX + body + newline[:1]
    signature_bytes = signature.base64(0, SIGNATURE_BYTES)
    with signature.placed():
        signing_key.verify(signature_bytes, signed)
    return OuterLayer(
        lifetime=section.one("descriptor-lifetime").number(0, MAX_LIFETIME // _MINUTE) * _MINUTE,
        blinded_key=BlindedKey(certificate.signing_key),
        signing_key=signing_key,
        cert_expires_at=certificate.expires_at,
        revision=RevisionCounter(section.one("revision-counter").number(0, MAX_REVISION)),
        superencrypted=section.one("superencrypted").object(_MESSAGE),
    )


def encode_outer(
    *,
    signer: DescriptorSigningKeypair,
    certificate: bytes,
    revision: RevisionCounter,
    superencrypted: bytes,
) -> bytes:
    """Write and sign the outer layer, and so the whole document.

    :param certificate: by which the blinded key vouches for `signer`.
    :raises DescriptorLimitError: if the document is larger than HSDirs and clients take.
    """
    body = "".join(
        (
            encode_item("hs-descriptor", str(HS_VERSION)),
            encode_item("descriptor-lifetime", str(DESCRIPTOR_LIFETIME // _MINUTE)),
            encode_item("descriptor-signing-key-cert", armour=CERT_ARMOUR, data=certificate),
            encode_item("revision-counter", str(revision)),
            encode_item("superencrypted", armour=_MESSAGE, data=superencrypted),
        )
    ).encode("ascii")
    signature = encode_base64(signer.sign(_SIGNATURE_PREFIX + body), padded=False)
    document = body + encode_item("signature", signature).encode("ascii")
    _check_size(document)
    return document


def _read_certificate(item: Item) -> Certificate:
    """Read the certificate by which the blinded key, named in it, vouches for the signing key."""
    data = item.object(CERT_ARMOUR)
    with item.placed():
        certificate = Certificate.from_bytes(data)
        certificate.verify(CertType.DESCRIPTOR_SIGNING, BlindedKey(certificate.signing_key))
    return certificate


def _check_size(document: bytes) -> None:
    if len(document) >= MAX_DESCRIPTOR_BYTES:
        msg = (
            f"{Layer.OUTER.value}: the descriptor has {len(document)} bytes, and HSDirs take less "
            f"than {MAX_DESCRIPTOR_BYTES}; list fewer introduction points"
        )
        raise DescriptorLimitError(msg)
