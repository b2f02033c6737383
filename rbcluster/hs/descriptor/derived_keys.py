"""The keys that a descriptor keeps for the whole period of its blinded key.

tor draws them at random when it first makes a period's descriptor, and keeps them until it drops
that descriptor: through every refresh, and through the change from second to first descriptor. An
HSDir sees the descriptor signing key; whoever knows the address sees the ephemeral key and the
fake clients. If each node drew its own, every change of leader would show. So they are derived
from what every publisher of the period has and nobody else: the blinded secret key.

    derive(label, n) = SHAKE-256(label | NUL | blinded secret key (64 bytes)), n bytes

One way, and apart from every other use of that key by its label: neither the blinded secret key
nor another derived key follows from one that gets known. The labels are part of what all nodes of
a cluster must agree on; a change of label shows once, as a restart of tor would.

Drawn afresh instead: the layers' salts (each encoding). Made anew, without randomness: the
certificates (each build). Not here: real clients' lines, and the descriptor cookie.
"""

from __future__ import annotations

import hashlib

from nacl import bindings

from rbcluster.hs.descriptor.middle import (
    CLIENT_ID_BYTES,
    COOKIE_BYTES,
    IV_BYTES,
    AuthClient,
    EphemeralKey,
)
from rbcluster.hs.keys import BlindedKeypair, DescriptorSigningKeypair
from rbcluster.hs.params import AUTH_CLIENT_MULTIPLE, KEY_BYTES


def derive_signing_keypair(blinded: BlindedKeypair) -> DescriptorSigningKeypair:
    """Derive the key that signs this period's descriptor (`KS_hs_desc_sign`)."""
    seed = _derive(b"rbcluster descriptor signing key", blinded, KEY_BYTES)
    return DescriptorSigningKeypair.from_seed(seed)


def derive_ephemeral_key(blinded: BlindedKeypair) -> EphemeralKey:
    """Derive this period's desc-auth-ephemeral-key (its public half)."""
    secret = _derive(b"rbcluster descriptor ephemeral key", blinded, KEY_BYTES)
    return EphemeralKey(bindings.crypto_scalarmult_base(secret))


def derive_fake_clients(blinded: BlindedKeypair) -> tuple[AuthClient, ...]:
    """Derive the 16 auth-client lines that no client's key opens."""
    size = CLIENT_ID_BYTES + IV_BYTES + COOKIE_BYTES
    stream = _derive(b"rbcluster descriptor fake clients", blinded, size * AUTH_CLIENT_MULTIPLE)
    lines = (stream[start : start + size] for start in range(0, len(stream), size))
    return tuple(
        AuthClient(
            client_id=line[:CLIENT_ID_BYTES],
            iv=line[CLIENT_ID_BYTES:-COOKIE_BYTES],
            cookie=line[-COOKIE_BYTES:],
        )
        for line in lines
    )


def _derive(label: bytes, blinded: BlindedKeypair, num_bytes: int) -> bytes:
    return hashlib.shake_256(label + b"\0" + blinded.secret).digest(num_bytes)
