"""Client authorization, seen from a client: from its key to the descriptor cookie.

    SECRET_SEED = x25519(KS_hsc_desc_enc, KP_hss_desc_enc)
    CLIENT-ID (8) | COOKIE-KEY (32) = KDF(N_hs_subcred | SECRET_SEED)

Spec: rend-spec-v3 2.5.1.2 (auth-client).
"""

from __future__ import annotations

import hashlib
import hmac

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

from rbcluster.hs.descriptor.layer_crypto import aes_ctr
from rbcluster.hs.descriptor.middle import CLIENT_ID_BYTES, MiddleLayer
from rbcluster.hs.keys import Subcredential
from rbcluster.hs.params import KEY_BYTES


def find_cookie(layer: MiddleLayer, subcredential: Subcredential, client_key: bytes) -> bytes:
    """Decrypt the descriptor cookie (16 bytes) from the line that is this client's.

    :param client_key: the client's secret X25519 key (`KS_hsc_desc_enc`, 32 bytes).
    :returns: empty if no line is: the client is not authorized, or the service asks for no
        authorization.
    :raises ValueError: if `client_key` is not 32 bytes.
    """
    if len(client_key) != KEY_BYTES:
        msg = f"a client's key takes {KEY_BYTES} bytes, not {len(client_key)}"
        raise ValueError(msg)
    try:
        seed = bindings.crypto_scalarmult(client_key, layer.ephemeral_key.raw)
    except SodiumError:  # a point of small order: no secret can be shared with it
        return b""
    keys = hashlib.shake_256(subcredential.raw + seed).digest(CLIENT_ID_BYTES + KEY_BYTES)
    client_id, cookie_key = keys[:CLIENT_ID_BYTES], keys[CLIENT_ID_BYTES:]
    for client in layer.clients:
        if hmac.compare_digest(client.client_id, client_id):
            return aes_ctr(cookie_key, client.iv, client.cookie)
    return b""
