from __future__ import annotations

from collections.abc import Callable

from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.descriptor.derived_keys import (
    derive_ephemeral_key,
    derive_fake_clients,
    derive_signing_keypair,
)
from rbcluster.hs.keys import BlindedKeypair, IdentityKeypair
from rbcluster.hs.time_period import TimePeriod

KEYPAIR = BlindedKeypair(bytes(range(64)))


def test_the_labels_have_not_changed() -> None:
    """Nodes of two versions must derive the same keys, or a change of leader would show."""
    assert (
        derive_signing_keypair(KEYPAIR).public.raw.hex()
        == "c0cbcb226684e0c924dce698b7084fd89cfd7b26b58353c694bb9c31dff7449f"
    )
    assert (
        derive_ephemeral_key(KEYPAIR).raw.hex()
        == "a3ab62b19968a61c4dc58246fd1dca50b20181aec5efd70f0eadce18d1197c44"
    )
    assert derive_fake_clients(KEYPAIR)[15].client_id.hex() == "ead5e8c2f24be0ad"


def test_all_64_bytes_of_the_blinded_secret_key_take_part() -> None:
    for position in (0, 31, 32, 63):
        changed = bytearray(KEYPAIR.secret)
        changed[position] ^= 1
        other = BlindedKeypair(bytes(changed))
        derivations: tuple[Callable[[BlindedKeypair], object], ...] = (
            lambda keypair: derive_signing_keypair(keypair).secret,
            derive_ephemeral_key,
            derive_fake_clients,
        )
        assert all(derive(other) != derive(KEYPAIR) for derive in derivations)


def test_each_period_has_keys_of_its_own(identity: IdentityKeypair, period: TimePeriod) -> None:
    this, following = (
        derive_signing_keypair(derive_blinded_keypair(identity, each)).public
        for each in (period, period.next())
    )
    assert this != following


def test_there_are_16_fake_clients_none_like_another() -> None:
    clients = derive_fake_clients(KEYPAIR)
    assert len(clients) == 16
    assert {(len(c.client_id), len(c.iv), len(c.cookie)) for c in clients} == {(8, 16, 16)}
    assert len({part for c in clients for part in (c.client_id, c.iv, c.cookie)}) == 3 * 16


def test_no_secret_is_shown(identity: IdentityKeypair, period: TimePeriod) -> None:
    keypair = derive_signing_keypair(derive_blinded_keypair(identity, period))
    assert keypair.secret.hex() not in repr(keypair)
