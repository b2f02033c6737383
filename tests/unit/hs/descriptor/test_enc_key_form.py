from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from rbcluster.hs.descriptor.enc_key_form import derive_ed25519_form
from rbcluster.hs.keys import IntroEncKey

P = 2**255 - 19


@given(seed=st.binary(min_size=32, max_size=32))
def test_the_form_is_the_ed25519_key_of_the_same_secret_up_to_its_sign(seed: bytes) -> None:
    public, secret = bindings.crypto_sign_seed_keypair(seed)
    x25519 = bindings.crypto_scalarmult_base(bindings.crypto_sign_ed25519_sk_to_curve25519(secret))
    form = derive_ed25519_form(IntroEncKey(x25519))
    assert form == public[:31] + bytes([public[31] & 0x7F])


@given(raw=st.binary(min_size=32, max_size=32))
def test_every_key_has_a_form_with_sign_bit_0(raw: bytes) -> None:
    assert derive_ed25519_form(IntroEncKey(raw))[31] & 0x80 == 0


def test_the_top_bit_of_an_x25519_key_means_nothing() -> None:
    low, high = IntroEncKey(bytes([5]) * 32), IntroEncKey(bytes([5]) * 31 + bytes([0x85]))
    assert derive_ed25519_form(low) == derive_ed25519_form(high)


def test_the_key_without_an_inverse_maps_to_zero() -> None:
    assert derive_ed25519_form(IntroEncKey((P - 1).to_bytes(32, "little"))) == bytes(32)
