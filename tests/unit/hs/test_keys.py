"""Keys and signatures: known answers, and what a nonce prefix is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from rbcluster.errors import VerificationError
from rbcluster.hs.keys import (
    BlindedKey,
    BlindedKeypair,
    DescriptorSigningKeypair,
    ExpandedKeypair,
    IdentityKey,
    IdentityKeypair,
    IntroAuthKey,
    IntroEncKey,
    PublicKey,
    RelayEd25519Id,
    SharedRandomValue,
    Subcredential,
    clamp,
)

SEED = bytes.fromhex("26c76712d89d906e6672dafa614c42e5cb1caac8c6568e4d2493087db51f0d36")
EXPANDED = bytes.fromhex(
    "c0a4de23cc64392d85aa1da82b3defddbea946d13bb053bf8489fa9296281f49"
    "5022f1f7ec0dcf52f07d4c7965c4eaed121d5d88d0a8ff546b06116a20e97755"
)
PUBLIC = bytes.fromhex("c2247870536a192d142d056abefca68d6193158e7c1a59c1654c954eccaff894")
FACTOR_PARAM = bytes.fromhex("54a513898b471d1d448a2f3c55c1de2c0ef718c447b04497eeb999ed32027823")
BLINDED_SECRET = bytes.fromhex(
    "293c3acff4e902f6f63ddc5d5caa2a57e771db4f24de65d4c28df3232f47fa01"
    "171d43f24e3f53e70ec7ac280044ac77d4942dee5d6807118a59bdf3ee647e89"
)
BLINDED_PUBLIC = bytes.fromhex("1fc1fa4465bd9d4956fdbdc9d3acb3c7019bb8d5606b951c2e1dfe0b42eaeb41")

seeds = st.binary(min_size=32, max_size=32)


def test_a_seed_expands_as_tor_expands_it() -> None:
    keypair = IdentityKeypair.from_seed(SEED)
    assert keypair.secret == EXPANDED
    assert keypair.public == IdentityKey(PUBLIC)


def test_blinding_the_secret_key_gives_tors_blinded_secret_key() -> None:
    blinded = IdentityKeypair(EXPANDED).blind(clamp(FACTOR_PARAM))
    assert blinded.secret == BLINDED_SECRET
    assert blinded.public == BlindedKey(BLINDED_PUBLIC)


def test_blinding_the_public_key_gives_tors_blinded_public_key() -> None:
    assert IdentityKey(PUBLIC).blind(clamp(FACTOR_PARAM)) == BlindedKey(BLINDED_PUBLIC)


@given(seed=seeds, message=st.binary(max_size=200))
def test_signatures_of_a_seed_are_those_of_libsodium(seed: bytes, message: bytes) -> None:
    assert IdentityKeypair.from_seed(seed).sign(message) == SigningKey(seed).sign(message).signature


@given(seed=seeds, param=seeds, message=st.binary(max_size=200))
def test_a_blinded_key_verifies_what_its_keypair_signs(
    seed: bytes, param: bytes, message: bytes
) -> None:
    keypair = IdentityKeypair.from_seed(seed)
    blinded = keypair.blind(clamp(param))
    assert keypair.public.blind(clamp(param)) == blinded.public
    blinded.public.verify(blinded.sign(message), message)


def test_the_nonce_of_a_signature_depends_on_the_last_32_bytes_of_the_key() -> None:
    one = IdentityKeypair(EXPANDED)
    other = IdentityKeypair(EXPANDED[:32] + bytes(32))
    assert one.public == other.public
    assert one.sign(b"message")[:32] != other.sign(b"message")[:32]
    one.public.verify(other.sign(b"message"), b"message")


def test_the_nonce_of_a_blinded_key_depends_on_the_last_32_bytes_of_the_identity_key() -> None:
    one = IdentityKeypair(EXPANDED).blind(clamp(FACTOR_PARAM))
    other = IdentityKeypair(EXPANDED[:32] + bytes(32)).blind(clamp(FACTOR_PARAM))
    assert one.public == other.public
    assert one.nonce_prefix != other.nonce_prefix
    assert one.sign(b"message")[:32] != other.sign(b"message")[:32]


def test_the_nonce_prefix_is_not_carried_over_by_blinding() -> None:
    keypair = IdentityKeypair(EXPANDED)
    assert keypair.blind(clamp(FACTOR_PARAM)).nonce_prefix != keypair.nonce_prefix


@pytest.mark.parametrize("byte", [0, 31, 32, 63])
def test_a_signature_with_one_changed_bit_is_refused(byte: int) -> None:
    keypair = IdentityKeypair(EXPANDED)
    signature = bytearray(keypair.sign(b"message"))
    signature[byte] ^= 1
    with pytest.raises(VerificationError):
        keypair.public.verify(bytes(signature), b"message")


def test_a_signature_of_another_message_is_refused() -> None:
    keypair = IdentityKeypair(EXPANDED)
    with pytest.raises(VerificationError):
        keypair.public.verify(keypair.sign(b"message"), b"massage")


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_wrong_length_is_refused(length: int) -> None:
    keypair = IdentityKeypair(EXPANDED)
    signature = (keypair.sign(b"message") + b"\0")[:length]
    with pytest.raises(VerificationError):
        keypair.public.verify(signature, b"message")


@pytest.mark.parametrize("raw", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\x02" + bytes(31)])
def test_an_identity_off_the_curve_or_of_small_order_is_not_blinded(raw: bytes) -> None:
    with pytest.raises(VerificationError):
        IdentityKey(raw).blind(clamp(FACTOR_PARAM))


@pytest.mark.parametrize("length", [0, 31, 33])
@pytest.mark.parametrize(
    "kind", [IdentityKey, BlindedKey, IntroAuthKey, IntroEncKey, RelayEd25519Id, SharedRandomValue]
)
def test_a_public_key_takes_32_bytes(kind: type[PublicKey], length: int) -> None:
    assert kind(bytes(32)).raw == bytes(32)
    with pytest.raises(ValueError, match=f"{kind.__name__} takes 32 bytes, not {length}"):
        kind(bytes(length))


@pytest.mark.parametrize("length", [31, 33])
def test_a_seed_takes_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="a seed takes 32 bytes"):
        IdentityKeypair.from_seed(bytes(length))


@pytest.mark.parametrize("length", [32, 63, 65])
def test_an_expanded_key_takes_64_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="takes 64 bytes"):
        BlindedKeypair(bytes(length))


@pytest.mark.parametrize("kind", [IdentityKeypair, BlindedKeypair, DescriptorSigningKeypair])
def test_a_keypair_shows_no_secret(kind: type[ExpandedKeypair]) -> None:
    shown = f"{kind(EXPANDED)!r} {kind(EXPANDED)!s}"
    assert kind.__name__ in shown
    assert EXPANDED[:32].hex() not in shown
    assert repr(EXPANDED)[2:20] not in shown


def test_keys_of_different_kinds_are_not_equal() -> None:
    keys: list[object] = [IdentityKey(PUBLIC), BlindedKey(PUBLIC), Subcredential(PUBLIC)]
    assert len(set(keys)) == 3


def test_each_keypair_gives_a_public_key_of_its_own_kind() -> None:
    assert IdentityKeypair(EXPANDED).public == IdentityKey(PUBLIC)
    assert BlindedKeypair(EXPANDED).public == BlindedKey(PUBLIC)
    assert DescriptorSigningKeypair(EXPANDED).public.raw == PUBLIC


def test_a_public_key_reads_as_hexadecimal() -> None:
    assert str(IdentityKey(PUBLIC)) == PUBLIC.hex()


@given(raw=seeds)
def test_clamping_twice_is_clamping_once(raw: bytes) -> None:
    once = clamp(raw)
    assert clamp(once) == once
    assert once[0] & 7 == 0
    assert once[31] >> 6 == 1
    assert once[1:31] == raw[1:31]
