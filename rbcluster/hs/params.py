"""Every constant of the v3 onion-service protocol, with its unit and its source.

Not here: the cluster's own settings (`core/state.py`, `Policy`).
"""

from __future__ import annotations

from datetime import timedelta

KEY_BYTES = 32  # every public key, seed and hash of the protocol
EXPANDED_KEY_BYTES = 64  # scalar (32) | nonce prefix (32); RFC 8032 5.1.5
SIGNATURE_BYTES = 64
FINGERPRINT_BYTES = 20  # SHA-1 of a relay's RSA identity key

HS_VERSION = 3  # the version byte of an address
ADDRESS_CHARS = 56  # base32 characters before ".onion"

MAX_INTRO_POINTS = 20  # hs_config.h: a client rejects a descriptor that lists more
MAX_DESCRIPTOR_BYTES = 50_000  # hs_config.h HS_DESC_MAX_LEN, also the consensus parameter's default
DESCRIPTOR_LIFETIME = timedelta(minutes=180)  # hs_descriptor.h HS_DESC_DEFAULT_LIFETIME
MAX_LIFETIME = timedelta(hours=12)  # hs_descriptor.h HS_DESC_MAX_LIFETIME: clients take no more
MAX_REVISION = 2**64 - 1  # rend-spec-v3 2.4
CERT_LIFETIME = timedelta(hours=54)  # hs_descriptor.h HS_DESC_CERT_LIFETIME
MIDDLE_LAYER_MULTIPLE = 10_000  # bytes: its text is padded to a multiple; rend-spec-v3 2.5.1.1
AUTH_CLIENT_MULTIPLE = 16  # auth-client lines, fakes included; rend-spec-v3 2.5.1.4

DEFAULT_N_REPLICAS = 2  # consensus parameter hsdir_n_replicas
DEFAULT_SPREAD_STORE = 4  # consensus parameter hsdir_spread_store
DEFAULT_INTERVAL_MIN = 1440  # consensus parameter hsdir_interval, minutes
SRV_ROUNDS_PER_RUN = 24  # srv-spec: 12 commit and 12 reveal rounds, one a voting interval
PERIOD_OFFSET_ROUNDS = 12  # rend-spec-v3 2.2.1: a period turns 12 voting intervals after an SRV
