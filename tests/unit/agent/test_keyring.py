"""Master keys from real key directories: the right one, or a sentence that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.agent.keyring import Keyring
from rbcluster.errors import KeyFileError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.key_directory import write_key_directory
from tests.unit.agent.world import MASTER, SITE

OTHER = IdentityKeypair.from_seed(bytes([7]) * 32)
PERIOD = TimePeriod(number=20_489, length_min=1440)


@pytest.fixture(name="directory")
def key_directory(tmp_path: Path) -> Path:
    write_key_directory(tmp_path / "site", MASTER)
    return tmp_path / "site"


def test_key_of_the_right_address_is_taken(directory: Path) -> None:
    keyring = Keyring.load({SITE: directory})
    assert keyring.has(SITE)
    assert keyring.identity(SITE).public == MASTER.public


def test_key_of_another_address_is_refused_with_both_named(directory: Path) -> None:
    wanted = OnionAddress(OTHER.public)
    with pytest.raises(KeyFileError) as caught:
        Keyring.load({wanted: directory})
    text = str(caught.value)
    assert f"is the key of {SITE}" in text
    assert f"cluster.toml says {wanted}" in text


def test_key_missing_for_one_of_two_services_is_named(directory: Path) -> None:
    missing = directory.with_name("other")
    with pytest.raises(KeyFileError, match=f"{missing}/hs_ed25519_secret_key does not exist"):
        Keyring.load({SITE: directory, OnionAddress(OTHER.public): missing})


def test_keys_of_two_services_do_not_mix(directory: Path) -> None:
    other = OnionAddress(OTHER.public)
    write_key_directory(directory.with_name("other"), OTHER)
    keyring = Keyring.load({SITE: directory, other: directory.with_name("other")})
    assert keyring.identity(other).public == OTHER.public
    keypairs = (keyring.for_period(address, PERIOD).keypair for address in (SITE, other))
    expected = (derive_blinded_keypair(keypair, PERIOD) for keypair in (MASTER, OTHER))
    assert [k.public for k in keypairs] == [k.public for k in expected]


@pytest.mark.parametrize("size", [0, 95, 97])
def test_key_file_of_a_wrong_length_is_refused(directory: Path, size: int) -> None:
    file = directory / "hs_ed25519_secret_key"
    file.write_bytes(file.read_bytes().ljust(97, b"\0")[:size])
    with pytest.raises(KeyFileError, match=f"takes 96 bytes, not {size}"):
        Keyring.load({SITE: directory})


def test_key_that_others_can_read_is_refused(directory: Path) -> None:
    (directory / "hs_ed25519_secret_key").chmod(0o644)
    with pytest.raises(KeyFileError, match=r"open to others \(mode 0644\): chmod it to 0600"):
        Keyring.load({SITE: directory})


def test_service_for_authorized_clients_is_refused(directory: Path) -> None:
    (directory / "authorized_clients").mkdir()
    (directory / "authorized_clients" / "bob.auth").touch()
    with pytest.raises(KeyFileError, match="keeps the service for authorized clients"):
        Keyring.load({SITE: directory})


def test_service_without_a_key_here_is_said_so() -> None:
    keyring = Keyring({})
    assert not keyring.has(SITE)
    with pytest.raises(KeyFileError, match=f"no key for {SITE}: copy its key directory here"):
        keyring.identity(SITE)
    with pytest.raises(KeyFileError):
        keyring.for_period(SITE, PERIOD)


def test_keys_of_a_period_are_derived_from_the_master_key_once() -> None:
    keyring = Keyring({SITE: MASTER})
    keys = keyring.for_period(SITE, PERIOD)
    assert keys.keypair.public == derive_blinded_keypair(MASTER, PERIOD).public
    assert keyring.for_period(SITE, PERIOD) is keys
    assert keyring.for_period(SITE, PERIOD.next()).keypair.public != keys.keypair.public


def test_node_that_only_serves_may_lack_a_key_but_not_hold_a_wrong_one(directory: Path) -> None:
    missing = directory.with_name("other")
    keyring = Keyring.load(
        {SITE: directory, OnionAddress(OTHER.public): missing}, may_lack_keys=True
    )
    assert keyring.has(SITE)
    assert not keyring.has(OnionAddress(OTHER.public))
    with pytest.raises(KeyFileError, match="is the key of"):
        Keyring.load({OnionAddress(OTHER.public): directory}, may_lack_keys=True)
