from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import DecryptionError
from rbcluster.hs.descriptor.document import Layer
from rbcluster.hs.descriptor.layer_crypto import LayerSecret, decrypt_layer, encrypt_layer
from rbcluster.hs.keys import BlindedKey, Subcredential
from rbcluster.hs.revision import RevisionCounter

SECRET = LayerSecret(
    blinded_key=BlindedKey(bytes([1]) * 32),
    subcredential=Subcredential(bytes(32)),
    revision=RevisionCounter(5),
)
LAYERS = st.sampled_from([Layer.MIDDLE, Layer.INNER])


@given(layer=LAYERS, text=st.binary(), salt=st.binary(min_size=16, max_size=16))
def test_a_layer_is_decrypted_as_it_was_encrypted(layer: Layer, text: bytes, salt: bytes) -> None:
    blob = encrypt_layer(layer, text, SECRET, salt)
    assert blob[:16] == salt
    assert len(blob) == 16 + len(text) + 32
    assert decrypt_layer(layer, blob, SECRET) == text


@given(layer=LAYERS, position=st.integers(0, 51), change=st.integers(1, 255))
def test_a_changed_byte_is_refused(layer: Layer, position: int, change: int) -> None:
    blob = bytearray(encrypt_layer(layer, b"text", SECRET, bytes(16)))
    blob[position] ^= change
    with pytest.raises(DecryptionError):
        decrypt_layer(layer, bytes(blob), SECRET)


@given(layer=LAYERS, length=st.integers(0, 51))
def test_a_cut_layer_is_refused(layer: Layer, length: int) -> None:
    blob = encrypt_layer(layer, b"text", SECRET, bytes(16))
    with pytest.raises(DecryptionError):
        decrypt_layer(layer, blob[:length], SECRET)


@pytest.mark.parametrize(
    ("layer", "secret", "cookie"),
    [
        (Layer.MIDDLE, SECRET, b""),
        (Layer.INNER, SECRET, bytes(16)),
        (
            Layer.INNER,
            LayerSecret(
                blinded_key=SECRET.blinded_key,
                subcredential=SECRET.subcredential,
                revision=RevisionCounter(6),
            ),
            b"",
        ),
    ],
)
def test_each_layer_revision_and_cookie_has_keys_of_its_own(
    layer: Layer, secret: LayerSecret, cookie: bytes
) -> None:
    blob = encrypt_layer(Layer.INNER, b"text", SECRET, bytes(16))
    with pytest.raises(DecryptionError):
        decrypt_layer(layer, blob, secret, cookie=cookie)


def test_a_failure_tells_the_layer_and_nothing_of_the_cause() -> None:
    messages = set()
    for blob in (b"", bytes(47), bytes(100)):
        with pytest.raises(DecryptionError) as caught:
            decrypt_layer(Layer.INNER, blob, SECRET)
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert messages.pop().startswith("inner layer: it can't be opened with the keys at hand; ")
