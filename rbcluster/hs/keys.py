"""A class for each kind of key, so that one can't be taken for another; and Ed25519 over them.

Secret halves are other classes, whose `repr` shows nothing. Signing works from expanded keys
(scalar and nonce prefix), since that is the only form in which vanity and blinded keys exist.

Not here: files (`hs/identity.py`), certificates (`hs/certificate.py`).

Spec: rend-spec-v3 1.9 (a menagerie of keys) and appendix A [KEYBLIND]; RFC 8032 for signatures.

Overview::

    PublicKey                 32 bytes of some kind
      |- IdentityKey          KP_hs_id: the service's public key, spelled out in its address
      |- BlindedKey           KP_hs_blind_id: the identity key, blinded for one time period
      |- DescriptorSigningKey KP_hs_desc_sign
      |- IntroAuthKey         KP_hs_ipt_sid: names one introduction point
      |- IntroEncKey          KP_hss_ntor (X25519)
      |- RelayNtorKey         the introduction relay's own onion key (X25519)
      +- Subcredential        N_hs_subcred: what a client of one period proves to know

    ExpandedKeypair           something that signs: scalar (32 bytes) | nonce prefix (32 bytes)
      |- IdentityKeypair      KS_hs_id
      |- BlindedKeypair       KS_hs_blind_id
      +- DescriptorSigningKeypair KS_hs_desc_sign
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumError

from rbcluster.errors import VerificationError
from rbcluster.hs.params import EXPANDED_KEY_BYTES, KEY_BYTES, SIGNATURE_BYTES


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """Public bytes of one kind (32 bytes).

    :raises ValueError: if `raw` is not 32 bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            msg = f"{type(self).__name__} takes {KEY_BYTES} bytes, not {len(self.raw)}"
            raise ValueError(msg)

    def __str__(self) -> str:
        return self.raw.hex()


class _Ed25519Key(PublicKey):
    """A public key that verifies signatures."""

    __slots__ = ()

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check an Ed25519 signature (64 bytes) of `message`.

        :raises VerificationError: if it is not this key's.
        """
        try:
            if len(signature) != SIGNATURE_BYTES:
                raise BadSignatureError
            bindings.crypto_sign_open(signature + message, self.raw)
        except (BadSignatureError, SodiumError, ValueError) as error:
            raise VerificationError(f"a signature by {type(self).__name__} is wrong") from error


class IdentityKey(_Ed25519Key):
    """A service's long-term public key (`KP_hs_id`, 32 bytes)."""

    __slots__ = ()

    def is_on_curve(self) -> bool:
        """Tell whether this is a point of the prime-order group, as every real key is."""
        return bool(bindings.crypto_core_ed25519_is_valid_point(self.raw))

    def blind(self, factor: bytes) -> BlindedKey:
        """Multiply this point by a blinding factor (32 bytes, `derive_blinding_factor`).

        :raises VerificationError: if this is not a point of the prime-order group.
        Spec: rend-spec-v3 appendix A.2.
        """
        try:
            return BlindedKey(bindings.crypto_scalarmult_ed25519_noclamp(factor, self.raw))
        except SodiumError as error:
            raise VerificationError("this identity key is not a point of the curve") from error


class BlindedKey(_Ed25519Key):
    """An identity key blinded for one time period (`KP_hs_blind_id`, 32 bytes)."""

    __slots__ = ()


class DescriptorSigningKey(_Ed25519Key):
    """The short-term key that signs a descriptor (`KP_hs_desc_sign`, 32 bytes)."""

    __slots__ = ()


class IntroAuthKey(_Ed25519Key):
    """The key that names one introduction point (`KP_hs_ipt_sid`, 32 bytes)."""

    __slots__ = ()


class IntroEncKey(PublicKey):
    """The X25519 key a client encrypts its introduction to (`KP_hss_ntor`, 32 bytes)."""

    __slots__ = ()


class RelayNtorKey(PublicKey):
    """The introduction relay's own X25519 onion key (32 bytes)."""

    __slots__ = ()


class RelayEd25519Id(PublicKey):
    """A relay's Ed25519 identity (32 bytes)."""

    __slots__ = ()


class SharedRandomValue(PublicKey):
    """A shared random value of the directory authorities (32 bytes). Spec: srv-spec."""

    __slots__ = ()


class Subcredential(PublicKey):
    """What binds a client's requests to one service and period (`N_hs_subcred`, 32 bytes).

    Public for anyone who knows the address, so not a secret of the service.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class ExpandedKeypair:
    """An Ed25519 key that signs, in expanded form (64 bytes: scalar | nonce prefix).

    :raises ValueError: if `secret` is not 64 bytes.
    Spec: RFC 8032 5.1.5 (what a seed expands to), 5.1.6 (signing).
    """

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != EXPANDED_KEY_BYTES:
            msg = (
                f"an expanded Ed25519 key takes {EXPANDED_KEY_BYTES} bytes, not {len(self.secret)}"
            )
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<secret>)"

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Expand a 32-byte seed: SHA-512, first half clamped.

        :raises ValueError: if `seed` is not 32 bytes.
        """
        if len(seed) != KEY_BYTES:
            msg = f"a seed takes {KEY_BYTES} bytes, not {len(seed)}"
            raise ValueError(msg)
        digest = hashlib.sha512(seed).digest()
        return cls(clamp(digest[:KEY_BYTES]) + digest[KEY_BYTES:])

    @property
    def scalar(self) -> bytes:
        """The secret scalar (32 bytes, little-endian)."""
        return self.secret[:KEY_BYTES]

    @property
    def nonce_prefix(self) -> bytes:
        """What makes signature nonces unpredictable (32 bytes).

        A key cut to its scalar signs with a predictable nonce and gives itself away.
        """
        return self.secret[KEY_BYTES:]

    def public_bytes(self) -> bytes:
        """Compute the public key (32 bytes)."""
        return bindings.crypto_scalarmult_ed25519_base_noclamp(self.scalar)

    def sign(self, message: bytes) -> bytes:
        """Sign `message` (64 bytes). Deterministic. Spec: RFC 8032 5.1.6."""
        public = self.public_bytes()
        nonce = _reduce_hash(self.nonce_prefix, message)
        commitment = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = _reduce_hash(commitment, public, message)
        response = bindings.crypto_core_ed25519_scalar_add(
            nonce, bindings.crypto_core_ed25519_scalar_mul(challenge, self.scalar)
        )
        return commitment + response


class IdentityKeypair(ExpandedKeypair):
    """A service's long-term key (`KS_hs_id`): the master key of an onion address."""

    __slots__ = ()

    @property
    def public(self) -> IdentityKey:
        """The matching public key (`KP_hs_id`)."""
        return IdentityKey(self.public_bytes())

    def blind(self, factor: bytes) -> BlindedKeypair:
        """Blind the secret key with a factor (32 bytes, `derive_blinding_factor`).

        All 64 bytes take part: the nonce prefix is hashed into a new one.
        Spec: rend-spec-v3 appendix A.2.
        """
        prefix = hashlib.sha512(
            b"Derive temporary signing key hash input" + self.nonce_prefix
        ).digest()[:KEY_BYTES]
        return BlindedKeypair(bindings.crypto_core_ed25519_scalar_mul(factor, self.scalar) + prefix)


class BlindedKeypair(ExpandedKeypair):
    """An identity key blinded for one time period (`KS_hs_blind_id`)."""

    __slots__ = ()

    @property
    def public(self) -> BlindedKey:
        """The matching public key (`KP_hs_blind_id`)."""
        return BlindedKey(self.public_bytes())


class DescriptorSigningKeypair(ExpandedKeypair):
    """The short-term key that signs a descriptor (`KS_hs_desc_sign`)."""

    __slots__ = ()

    @property
    def public(self) -> DescriptorSigningKey:
        """The matching public key (`KP_hs_desc_sign`)."""
        return DescriptorSigningKey(self.public_bytes())


def clamp(scalar: bytes) -> bytes:
    """Force 32 bytes into the form of an Ed25519 secret scalar. Spec: RFC 8032 5.1.5."""
    head, body, tail = scalar[0] & 0xF8, scalar[1:31], scalar[31] & 0x7F | 0x40
    return bytes([head]) + body + bytes([tail])


def _reduce_hash(*parts: bytes) -> bytes:
    """SHA-512 of the parts, as a scalar (32 bytes)."""
    return bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"".join(parts)).digest())
