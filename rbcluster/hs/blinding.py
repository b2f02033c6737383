"""Key blinding: from an identity key to the keys of one time period.

HSDirs and the network see only blinded keys, so that they can't tell which service a descriptor
belongs to. Whoever knows the address derives the same public half; only the service the secret one.

Not here: the arithmetic on keys (`IdentityKey.blind`, `IdentityKeypair.blind`).

Spec: rend-spec-v3 appendix A [KEYBLIND], 2.1 [SUBCRED].

Overview::

    IdentityKey + TimePeriod   --derive_blinding_factor-->  h
    IdentityKey * h            --derive_blinded_key----->   BlindedKey
    IdentityKeypair * h        --derive_blinded_keypair-->  BlindedKeypair
    IdentityKey + BlindedKey   --derive_subcredential--->   Subcredential
"""

from __future__ import annotations

import hashlib

from rbcluster.hs.keys import (
    BlindedKey,
    BlindedKeypair,
    IdentityKey,
    IdentityKeypair,
    Subcredential,
    clamp,
)
from rbcluster.hs.time_period import TimePeriod

_BLIND_STRING = b"Derive temporary signing key\0"  # its terminating NUL is part of it
_BASEPOINT = (  # B: the spec hashes the base point as this text, not as its 32 bytes
    b"(15112221349535400772501151409588531511454012693041857206046113283949847762202, "
    b"46316835694926478169428394003475163141307993866256225615783033603165251855960)"
)


def derive_blinding_factor(identity: IdentityKey, period: TimePeriod) -> bytes:
    """Derive the factor that blinds an identity in one period (h, 32 bytes, clamped).

    h = H(BLIND_STRING | A | s | B | N), here without the optional secret s, where
    N = "key-blind" | INT_8(period_num) | INT_8(period_length).
    Spec: rend-spec-v3 appendix A.2.
    """
    nonce = b"key-blind" + period.number.to_bytes(8) + period.length_min.to_bytes(8)
    digest = hashlib.sha3_256(_BLIND_STRING + identity.raw + _BASEPOINT + nonce).digest()
    return clamp(digest)


def derive_blinded_key(identity: IdentityKey, period: TimePeriod) -> BlindedKey:
    """Derive a service's public key of one period (`KP_hs_blind_id`).

    :raises VerificationError: if `identity` is not a point of the prime-order group.
    """
    return identity.blind(derive_blinding_factor(identity, period))


def derive_blinded_keypair(identity: IdentityKeypair, period: TimePeriod) -> BlindedKeypair:
    """Derive a service's secret key of one period (`KS_hs_blind_id`)."""
    return identity.blind(derive_blinding_factor(identity.public, period))


def derive_subcredential(identity: IdentityKey, blinded: BlindedKey) -> Subcredential:
    """Derive what a client of one period proves to know (`N_hs_subcred`).

    N_hs_cred = H("credential" | KP_hs_id);
    N_hs_subcred = H("subcredential" | N_hs_cred | KP_hs_blind_id).
    Spec: rend-spec-v3 2.1 [SUBCRED].
    """
    credential = hashlib.sha3_256(b"credential" + identity.raw).digest()
    return Subcredential(hashlib.sha3_256(b"subcredential" + credential + blinded.raw).digest())
