from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from nacl import bindings

from rbcluster.errors import DecryptionError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair, derive_subcredential
from rbcluster.hs.descriptor import open_descriptor
from rbcluster.hs.descriptor.client_auth import find_cookie
from rbcluster.hs.descriptor.derived_keys import derive_ephemeral_key, derive_fake_clients
from rbcluster.hs.descriptor.layer_crypto import aes_ctr
from rbcluster.hs.descriptor.middle import AuthClient, EphemeralKey, MiddleLayer
from rbcluster.hs.keys import IdentityKeypair, Subcredential
from rbcluster.hs.time_period import TimePeriod

CLIENT_KEY = bytes([0x33]) * 32
COOKIE = bytes(range(16))
SUBCREDENTIAL = Subcredential(bytes([9]) * 32)
SERVICE_SECRET = bytes([5]) * 32
EPHEMERAL = EphemeralKey(bindings.crypto_scalarmult_base(SERVICE_SECRET))


def admit(ephemeral: EphemeralKey, subcredential: Subcredential, iv: bytes) -> AuthClient:
    """Write a client's line as a service does, though from the client's side of the exchange."""
    seed = bindings.crypto_scalarmult(CLIENT_KEY, ephemeral.raw)
    keys = hashlib.shake_256(subcredential.raw + seed).digest(40)
    return AuthClient(client_id=keys[:8], iv=iv, cookie=aes_ctr(keys[8:], iv, COOKIE))


def fakes() -> tuple[AuthClient, ...]:
    return tuple(
        AuthClient(client_id=bytes([i]) * 8, iv=bytes([i]) * 16, cookie=bytes(16))
        for i in range(15)
    )


def layer(*clients: AuthClient, ephemeral: EphemeralKey = EPHEMERAL) -> MiddleLayer:
    return MiddleLayer(ephemeral_key=ephemeral, clients=clients, encrypted=b"")


def test_a_client_finds_its_cookie_among_fakes() -> None:
    own = admit(EPHEMERAL, SUBCREDENTIAL, bytes([1]) * 16)
    assert find_cookie(layer(*fakes(), own), SUBCREDENTIAL, CLIENT_KEY) == COOKIE


def test_a_client_that_is_not_listed_finds_no_cookie() -> None:
    assert find_cookie(layer(*fakes()), SUBCREDENTIAL, CLIENT_KEY) == b""
    own = admit(EPHEMERAL, SUBCREDENTIAL, bytes(16))
    assert find_cookie(layer(own), SUBCREDENTIAL, bytes([0x44]) * 32) == b""
    assert find_cookie(layer(own), Subcredential(bytes(32)), CLIENT_KEY) == b""


def test_an_ephemeral_key_of_small_order_yields_no_cookie() -> None:
    assert find_cookie(layer(ephemeral=EphemeralKey(bytes(32))), SUBCREDENTIAL, CLIENT_KEY) == b""


@pytest.mark.parametrize("num_bytes", [0, 31, 33])
def test_a_key_of_another_length_is_refused(num_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"takes 32 bytes, not {num_bytes}"):
        find_cookie(layer(), SUBCREDENTIAL, bytes(num_bytes))


def test_a_restricted_descriptor_opens_with_a_clients_key_only(
    seal: Callable[..., bytes], identity: IdentityKeypair, period: TimePeriod
) -> None:
    keypair = derive_blinded_keypair(identity, period)
    own = admit(
        derive_ephemeral_key(keypair),
        derive_subcredential(identity.public, keypair.public),
        bytes([7]) * 16,
    )
    clients = (*derive_fake_clients(keypair)[:15], own)
    document = seal(b"create2-formats 2\n", clients=clients, cookie=COOKIE)
    address = OnionAddress(identity.public)
    opened = open_descriptor(document, address, period, client_key=CLIENT_KEY)
    assert (opened.restricted, opened.num_auth_clients) == (True, 16)
    for key in (None, bytes([0x44]) * 32):
        with pytest.raises(DecryptionError, match=r"inner layer.*give the key of one"):
            open_descriptor(document, address, period, client_key=key)
