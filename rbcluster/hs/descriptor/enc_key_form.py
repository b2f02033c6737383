"""The Ed25519 form of an introduction point's X25519 enc key, which is what gets certified.

Spec: rend-spec-v3 2.5.2.2 (enc-key-cert); RFC 7748 4.1 (the map between the two curves).
"""

from __future__ import annotations

from rbcluster.hs.keys import IntroEncKey
from rbcluster.hs.params import KEY_BYTES

_P = 2**255 - 19
_U_MASK = 2**255 - 1  # X25519 ignores the top bit


def derive_ed25519_form(enc_key: IntroEncKey) -> bytes:
    """Map an X25519 public key to the Ed25519 point with sign bit 0 (32 bytes).

    The base point maps to the base point:

    >>> derive_ed25519_form(IntroEncKey((9).to_bytes(32, "little"))).hex()
    '5866666666666666666666666666666666666666666666666666666666666666'
    """
    u = int.from_bytes(enc_key.raw, "little") & _U_MASK
    # y = (u - 1) / (u + 1); the one u without an inverse, -1, maps to y = 0
    y = (u - 1) * pow(u + 1, -1, _P) % _P if (u + 1) % _P else 0
    return y.to_bytes(KEY_BYTES, "little")
