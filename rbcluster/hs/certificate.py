"""Ed25519 certificates: one key vouches for another until a full hour.

Not here: base64 and armour (`hs/descriptor/document.py`), and which key must have signed which
(`hs/descriptor/`).

Spec: cert-spec 2.1, 2.2.1 (the signed-with-ed25519-key extension).

Overview::

    CertType            what a certificate vouches for
    Certificate         one certificate: from_bytes, verify
    create_certificate  certify a key
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from rbcluster.errors import ParseError, VerificationError
from rbcluster.hs.keys import BlindedKey, DescriptorSigningKey, ExpandedKeypair
from rbcluster.hs.params import KEY_BYTES, SIGNATURE_BYTES

CERT_ARMOUR = "ED25519 CERT"  # label of the armour a document puts around a certificate
_VERSION = 1
_ED25519_KEY = 1  # kind of the certified key
_SIGNED_WITH_KEY = 4  # extension that names the signing key
_AFFECTS_VALIDATION = 1  # extension flag: who does not know it must not accept the certificate
_HEAD = struct.Struct(f">BBIB{KEY_BYTES}sB")  # version, type, expiry, key kind, key, extensions
_EXTENSION = struct.Struct(">HBB")  # length, type, flags
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


class CertType(IntEnum):
    """What an onion service's certificate vouches for. Spec: cert-spec A.1."""

    DESCRIPTOR_SIGNING = 0x08  # descriptor signing key, signed by the blinded key
    INTRO_AUTH = 0x09  # introduction point's auth key, signed by the descriptor signing key
    INTRO_ENC = 0x0B  # introduction point's enc key in Ed25519 form, signed by the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate as read; nothing in it is proved before `verify`."""

    type: int  # 0..255, of any kind
    expires_at: datetime  # aware UTC, a full hour
    certified_key: bytes  # 32 bytes
    signing_key: bytes  # 32 bytes, as the certificate names it
    body: bytes  # what the signature covers
    signature: bytes  # 64 bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Certificate:
        """Read a certificate.

        :raises ParseError: if it is cut, overlong, of another version, certifies another kind of
            key, does not name its signing key, or holds an extension that must not be ignored.
        """
        body, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        if len(body) < _HEAD.size:
            raise ParseError(f"a certificate of {len(data)} bytes is cut short")
        version, cert_type, hours, key_kind, certified_key, num_extensions = _HEAD.unpack_from(body)
        if (version, key_kind) != (_VERSION, _ED25519_KEY):
            msg = f"a certificate of version {version} over a key of kind {key_kind} is unknown"
            raise ParseError(msg)
        try:
            expires_at = _EPOCH + hours * _HOUR
        except OverflowError as error:
            raise ParseError(f"a certificate expires after {hours} hours, out of range") from error
        return cls(
            type=cert_type,
            expires_at=expires_at,
            certified_key=certified_key,
            signing_key=_read_extensions(body[_HEAD.size :], num_extensions),
            body=body,
            signature=signature,
        )

    def verify(self, cert_type: CertType, signer: BlindedKey | DescriptorSigningKey) -> None:
        """Check that `signer` made this certificate for that purpose, and is named in it.

        Expiry is not looked at: `expires_at` is the caller's to compare with its clock.

        :raises VerificationError: if not.
        """
        if self.type != cert_type:
            msg = f"a certificate of type {self.type} stands where type {cert_type:d} belongs"
            raise VerificationError(msg)
        if self.signing_key != signer.raw:
            raise VerificationError(f"a certificate is not by this {type(signer).__name__}")
        signer.verify(self.signature, self.body)


def create_certificate(
    cert_type: CertType, certified_key: bytes, signer: ExpandedKeypair, expires_at: datetime
) -> bytes:
    """Certify a key (32 bytes), naming the signing key, as every onion-service certificate must.

    :param expires_at: aware UTC, rounded up to a full hour.
    """
    hours = -((_EPOCH - expires_at) // _HOUR)
    head = _HEAD.pack(_VERSION, cert_type, hours, _ED25519_KEY, certified_key, 1)
    body = head + _EXTENSION.pack(KEY_BYTES, _SIGNED_WITH_KEY, 0) + signer.public_bytes()
    return body + signer.sign(body)


def _read_extensions(data: bytes, count: int) -> bytes:
    """Walk the extensions; return the signing key."""
    signing_key = None
    for _ in range(count):
        if len(data) < _EXTENSION.size:
            raise ParseError("a certificate's extensions are cut short")
        length, kind, flags = _EXTENSION.unpack_from(data)
        value, data = data[_EXTENSION.size :][:length], data[_EXTENSION.size + length :]
        if len(value) != length:
            raise ParseError("a certificate's extensions are cut short")
        if kind == _SIGNED_WITH_KEY:
            if signing_key is not None or length != KEY_BYTES:
                raise ParseError("a certificate names its signing key twice, or not in 32 bytes")
            signing_key = value
        elif flags & _AFFECTS_VALIDATION:
            raise ParseError(f"a certificate holds an unknown but binding extension {kind}")
    if data:
        raise ParseError(f"a certificate has {len(data)} bytes too many")
    if signing_key is None:
        raise ParseError("a certificate does not name its signing key")
    return signing_key
