"""How the middle and the inner layer are encrypted: SHAKE-256, AES-256-CTR, SHA3-256 as a MAC.

    SALT (16) | ENCRYPTED | MAC (32)

Not here: padding (`middle.py`), the descriptor cookie (`client_auth.py`).

Spec: rend-spec-v3 2.5.3 [HS-DESC-ENCRYPTION-KEYS].
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from rbcluster.errors import DecryptionError
from rbcluster.hs.descriptor.document import Layer
from rbcluster.hs.keys import BlindedKey, Subcredential
from rbcluster.hs.revision import RevisionCounter

SALT_BYTES = 16
_KEY_BYTES = 32  # AES-256
_IV_BYTES = 16
_MAC_BYTES = 32  # of the MAC, and of its key
_STRING_CONSTANT: Final = {
    Layer.MIDDLE: b"hsdir-superencrypted-data",
    Layer.INNER: b"hsdir-encrypted-data",
}
_REMEDY: Final = {
    Layer.MIDDLE: "check the address and the time period",
    Layer.INNER: "if the service has authorized clients, give the key of one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSecret:
    """What the keys of a descriptor's layers are derived from.

    No secret of the service: whoever knows the address can compute it.
    """

    blinded_key: BlindedKey
    subcredential: Subcredential
    revision: RevisionCounter


def encrypt_layer(
    layer: Layer, plaintext: bytes, secret: LayerSecret, salt: bytes, *, cookie: bytes = b""
) -> bytes:
    """Encrypt a layer's text.

    :param salt: 16 fresh random bytes: with the same salt, two texts would share a key stream.
    :param cookie: the descriptor cookie (16 bytes) of a service with authorized clients;
        inner layer only.
    """
    key, iv, mac_key = _derive_keys(layer, secret, salt, cookie)
    encrypted = aes_ctr(key, iv, plaintext)
    return salt + encrypted + _mac(mac_key, salt, encrypted)


def decrypt_layer(layer: Layer, blob: bytes, secret: LayerSecret, *, cookie: bytes = b"") -> bytes:
    """Check a layer's MAC and decrypt it.

    :raises DecryptionError: if it is not what `encrypt_layer` makes with this secret and cookie.
    """
    salt, encrypted, mac = blob[:SALT_BYTES], blob[SALT_BYTES:-_MAC_BYTES], blob[-_MAC_BYTES:]
    key, iv, mac_key = _derive_keys(layer, secret, salt, cookie)
    if not hmac.compare_digest(_mac(mac_key, salt, encrypted), mac):
        msg = f"{layer.value}: it can't be opened with the keys at hand; {_REMEDY[layer]}"
        raise DecryptionError(msg)
    return aes_ctr(key, iv, encrypted)


def aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt with AES-256 in counter mode (key 32 bytes, IV 16 bytes)."""
    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def _derive_keys(
    layer: Layer, secret: LayerSecret, salt: bytes, cookie: bytes
) -> tuple[bytes, bytes, bytes]:
    """Derive a layer's key, IV and MAC key.

    ::

        SECRET_DATA = KP_hs_blind_id | descriptor_cookie
        secret_input = SECRET_DATA | N_hs_subcred | INT_8(revision_counter)
        SECRET_KEY | SECRET_IV | MAC_KEY = KDF(secret_input | salt | STRING_CONSTANT)
    """
    secret_data = secret.blinded_key.raw + cookie
    secret_input = secret_data + secret.subcredential.raw + struct.pack(">Q", secret.revision)
    keys = hashlib.shake_256(secret_input + salt + _STRING_CONSTANT[layer]).digest(
        _KEY_BYTES + _IV_BYTES + _MAC_BYTES
    )
    return keys[:_KEY_BYTES], keys[_KEY_BYTES:-_MAC_BYTES], keys[-_MAC_BYTES:]


def _mac(mac_key: bytes, salt: bytes, encrypted: bytes) -> bytes:
    """D_MAC = H(mac_key_len | MAC_KEY | salt_len | SALT | ENCRYPTED)."""
    sized = (struct.pack(">Q", len(part)) + part for part in (mac_key, salt))
    return hashlib.sha3_256(b"".join(sized) + encrypted).digest()
