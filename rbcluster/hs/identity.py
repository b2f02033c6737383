"""The bytes of an onion service's identity: Tor's key files, and the other forms a key comes in.

Not here: files, owners and modes (`tor/key_directory.py`).

Spec: tor's `hs_ed25519_secret_key` and `hs_ed25519_public_key`: a tag, padded with NUL bytes to
32, before the expanded secret (64 bytes) or the public key (32 bytes).

Overview::

    parse_tor_secret_key   96 bytes                       -> IdentityKeypair
    parse_secret_key       96, 64 (expanded), 32 (seed), PEM -> ForeignKey: keypair and form
    parse_tor_public_key   64 bytes                       -> IdentityKey
    encode_tor_secret_key, encode_tor_public_key          the way back
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rbcluster.errors import ParseError
from rbcluster.hs.keys import IdentityKey, IdentityKeypair, clamp
from rbcluster.hs.params import EXPANDED_KEY_BYTES, KEY_BYTES

_TAG_BYTES = 32
_SECRET_TAG = b"== ed25519v1-secret: type0 ==".ljust(_TAG_BYTES, b"\0")
_PEM_START = b"-----BEGIN "
_PUBLIC_TAG = b"== ed25519v1-public: type0 ==".ljust(_TAG_BYTES, b"\0")


class SecretKeyForm(Enum):
    """What a secret key was read from; the value names it to a person."""

    SEED = f"a seed of {KEY_BYTES} bytes"
    EXPANDED = f"an expanded key of {EXPANDED_KEY_BYTES} bytes"
    PEM = "a PEM file, as Onionbalance makes"
    TOR_FILE = f"tor's key file of {_TAG_BYTES + EXPANDED_KEY_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A secret key from elsewhere.

    Any 32 bytes are a seed, so a wrong file of that length gives a key as well: who imports one is
    told the form and the address.
    """

    keypair: IdentityKeypair
    form: SecretKeyForm


def parse_tor_secret_key(data: bytes) -> IdentityKeypair:
    """Read the content of Tor's `hs_ed25519_secret_key` (96 bytes).

    :raises ParseError: if its length or tag is wrong, or it holds no Ed25519 secret.
    """
    return _parse_expanded(_without_tag(data, _SECRET_TAG, EXPANDED_KEY_BYTES, "secret"))


def parse_secret_key(data: bytes) -> ForeignKey:
    """Read a secret key in any form a service's owner may hold.

    :param data: PEM, or by its length Tor's file (96 bytes), an expanded key (64) or a seed (32).
    :raises ParseError: if it is none of these.
    """
    if data.startswith(_PEM_START):
        return ForeignKey(_parse_pem(data), SecretKeyForm.PEM)
    if len(data) == KEY_BYTES:
        return ForeignKey(IdentityKeypair.from_seed(data), SecretKeyForm.SEED)
    if len(data) == EXPANDED_KEY_BYTES:
        return ForeignKey(_parse_expanded(data), SecretKeyForm.EXPANDED)
    if len(data) == _TAG_BYTES + EXPANDED_KEY_BYTES:
        return ForeignKey(parse_tor_secret_key(data), SecretKeyForm.TOR_FILE)
    msg = (
        f"a secret key takes {KEY_BYTES} bytes (a seed), {EXPANDED_KEY_BYTES} (an expanded key) or "
        f"{_TAG_BYTES + EXPANDED_KEY_BYTES} (Tor's file), not {len(data)}, and is not PEM either"
    )
    raise ParseError(msg)


def parse_tor_public_key(data: bytes) -> IdentityKey:
    """Read the content of Tor's `hs_ed25519_public_key` (64 bytes).

    :raises ParseError: if its length or tag is wrong.
    """
    return IdentityKey(_without_tag(data, _PUBLIC_TAG, KEY_BYTES, "public"))


def encode_tor_secret_key(keypair: IdentityKeypair) -> bytes:
    """Return the content of Tor's `hs_ed25519_secret_key` (96 bytes, secret)."""
    return _SECRET_TAG + keypair.secret


def encode_tor_public_key(identity: IdentityKey) -> bytes:
    """Return the content of Tor's `hs_ed25519_public_key` (64 bytes)."""
    return _PUBLIC_TAG + identity.raw


def _without_tag(data: bytes, tag: bytes, key_bytes: int, kind: str) -> bytes:
    expected = _TAG_BYTES + key_bytes
    if len(data) != expected:
        msg = f"Tor's {kind} key file takes {expected} bytes, not {len(data)}: it was cut or is "
        raise ParseError(msg + "another file")
    if data[:_TAG_BYTES] != tag:
        raise ParseError(f"it does not begin with the tag of a v3 onion service's {kind} key")
    return data[_TAG_BYTES:]


def _parse_pem(data: bytes) -> IdentityKeypair:
    """Read a private key in PEM (PKCS 8), as Onionbalance and OpenSSL write it."""
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:  # the library's word for a missing password
        raise ParseError("the PEM key is encrypted: decrypt it with `openssl pkey`") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError("it begins as PEM, but holds no private key that can be read") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ParseError("the PEM key is not of Ed25519: it can't be a v3 onion service's")
    return IdentityKeypair.from_seed(key.private_bytes_raw())


def _parse_expanded(secret: bytes) -> IdentityKeypair:
    """Check that 64 bytes are an expanded key.

    Every generator clamps the scalar. Other 64-byte forms (seed | public key) would otherwise be
    taken for a key of another address.
    """
    scalar = secret[:KEY_BYTES]
    if not hmac.compare_digest(scalar, clamp(scalar)):
        raise ParseError("it holds no expanded Ed25519 secret key: damaged, or of another form")
    return IdentityKeypair(secret)
