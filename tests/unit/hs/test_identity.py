"""Tor's key files as bytes, and the other forms of a secret key."""

from __future__ import annotations

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ParseError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import (
    SecretKeyForm,
    encode_tor_public_key,
    encode_tor_secret_key,
    parse_secret_key,
    parse_tor_public_key,
    parse_tor_secret_key,
)
from rbcluster.hs.keys import IdentityKeypair

SEED = bytes.fromhex("454cf9d7990b659e44900c12cd623bebd514eba5709cf0356cbfe224da47cbaf")
ADDRESS = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
KEYPAIR = IdentityKeypair.from_seed(SEED)

keypairs = st.binary(min_size=32, max_size=32).map(IdentityKeypair.from_seed)


def test_a_known_seed_has_the_known_address() -> None:
    assert str(OnionAddress(parse_secret_key(SEED).keypair.public)) == ADDRESS


def test_all_three_forms_are_the_same_key() -> None:
    forms = [SEED, KEYPAIR.secret, encode_tor_secret_key(KEYPAIR)]
    assert [len(form) for form in forms] == [32, 64, 96]
    assert [parse_secret_key(form).keypair for form in forms] == [KEYPAIR] * 3


def test_tors_files_begin_with_their_tags() -> None:
    secret = encode_tor_secret_key(KEYPAIR)
    public = encode_tor_public_key(KEYPAIR.public)
    assert secret[:32] == b"== ed25519v1-secret: type0 ==\0\0\0"
    assert public[:32] == b"== ed25519v1-public: type0 ==\0\0\0"
    assert public[32:] == KEYPAIR.public.raw


@given(keypair=keypairs)
def test_keys_survive_tors_files(keypair: IdentityKeypair) -> None:
    assert parse_tor_secret_key(encode_tor_secret_key(keypair)) == keypair
    assert parse_tor_public_key(encode_tor_public_key(keypair.public)) == keypair.public


@pytest.mark.parametrize("length", [0, 32, 64, 95])
def test_a_cut_secret_key_file_is_refused(length: int) -> None:
    with pytest.raises(ParseError, match=f"takes 96 bytes, not {length}"):
        parse_tor_secret_key(encode_tor_secret_key(KEYPAIR)[:length])


@pytest.mark.parametrize("length", [0, 32, 63])
def test_a_cut_public_key_file_is_refused(length: int) -> None:
    with pytest.raises(ParseError, match=f"takes 64 bytes, not {length}"):
        parse_tor_public_key(encode_tor_public_key(KEYPAIR.public)[:length])


@pytest.mark.parametrize("length", [0, 31, 33, 63, 65, 95, 97])
def test_a_secret_key_of_no_known_length_is_refused(length: int) -> None:
    with pytest.raises(ParseError, match=f"not {length}"):
        parse_secret_key(bytes(length))


def test_a_file_with_another_tag_is_refused() -> None:
    relay_key = b"== ed25519v1-secret: type1 ==".ljust(32, b"\0") + KEYPAIR.secret
    with pytest.raises(ParseError, match="tag"):
        parse_tor_secret_key(relay_key)
    with pytest.raises(ParseError, match="tag"):
        parse_tor_public_key(b"\0" * 64)


@pytest.mark.parametrize("secret", [bytes(64), b"\xff" * 64, SEED + KEYPAIR.public.raw])
def test_64_bytes_that_are_no_expanded_key_are_refused(secret: bytes) -> None:
    with pytest.raises(ParseError, match="no expanded Ed25519 secret key"):
        parse_secret_key(secret)
    with pytest.raises(ParseError, match="no expanded Ed25519 secret key"):
        parse_tor_secret_key(encode_tor_secret_key(KEYPAIR)[:32] + secret)


@given(data=st.binary(max_size=100) | st.binary(min_size=64, max_size=64))
def test_any_bytes_are_a_key_or_a_parse_error(data: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert len(parse_secret_key(data).keypair.public.raw) == 32


def test_errors_show_no_secret() -> None:
    damaged = bytearray(encode_tor_secret_key(KEYPAIR))
    damaged[32] ^= 1
    with pytest.raises(ParseError) as caught:
        parse_tor_secret_key(bytes(damaged))
    assert KEYPAIR.secret[1:8].hex() not in str(caught.value)
    assert repr(bytes(damaged[33:40]))[2:-1] not in str(caught.value)


def _pem(key: Ed25519PrivateKey | X25519PrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_a_pem_file_is_read_as_its_seed() -> None:
    key = parse_secret_key(_pem(Ed25519PrivateKey.from_private_bytes(bytes(range(32)))))
    assert key.form is SecretKeyForm.PEM
    assert key.keypair == IdentityKeypair.from_seed(bytes(range(32)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_pem(Ed25519PrivateKey.generate(), b"sesame"), "encrypted: decrypt it with `openssl"),
        (_pem(X25519PrivateKey.generate()), "not of Ed25519"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key that"),
        (b"-----BEGIN ", "no private key that"),
    ],
    ids=["encrypted", "of another kind", "empty", "cut"],
)
def test_a_pem_file_without_a_key_of_a_service_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ParseError, match=why):
        parse_secret_key(data)
