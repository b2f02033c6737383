"""`rbcluster key`: made once, never printed, never replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.cli.main import main
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import encode_tor_secret_key
from rbcluster.hs.keys import IdentityKeypair

SEED = bytes.fromhex("454cf9d7990b659e44900c12cd623bebd514eba5709cf0356cbfe224da47cbaf")
ADDRESS = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
KEYPAIR = IdentityKeypair.from_seed(SEED)


def key(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["key", *map(str, args)])


def private_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_new_key_is_the_one_that_is_shown(tmp_path: Path) -> None:
    made = key("new", tmp_path / "web")
    assert made.exit_code == 0
    assert key("show", tmp_path / "web").stdout == made.stdout
    assert (tmp_path / "web" / "hostname").read_text().strip() in made.stdout


def test_two_new_keys_differ(tmp_path: Path) -> None:
    assert (
        key("new", tmp_path / "a").stdout.split()[1] != key("new", tmp_path / "b").stdout.split()[1]
    )


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    key("new", tmp_path)
    before = (tmp_path / "hs_ed25519_secret_key").read_bytes()
    result = key("new", tmp_path)
    assert result.exit_code == 1
    assert "exists: a key is never replaced, name another directory" in result.stderr
    assert (tmp_path / "hs_ed25519_secret_key").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (SEED, "a seed of 32 bytes"),
        (KEYPAIR.secret, "an expanded key of 64 bytes"),
        (encode_tor_secret_key(KEYPAIR), "tor's key file of 96 bytes"),
    ],
)
def test_a_key_is_shown_in_any_form_and_without_its_secret(
    tmp_path: Path, content: bytes, form: str
) -> None:
    result = key("show", private_file(tmp_path / "key", content))
    assert result.stdout.splitlines() == [
        f"address     {ADDRESS}",
        f"public key  {OnionAddress.parse(ADDRESS).identity}",
        f"file        {tmp_path / 'key'}",
        f"form        {form}",
    ]


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (bytes(95), 0o600, "not 95"),
        (b"== sesame ==".ljust(96, b"\0"), 0o600, "tag of a v3 onion service's secret key"),
        (SEED, 0o644, "is open to others (mode 0644)"),
    ],
)
def test_a_file_that_is_no_trusted_key_gets_one_sentence(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    path = private_file(tmp_path / "key", content)
    path.chmod(mode)
    result = key("show", path)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert said in line
    assert str(path) in line
    assert "sesame" not in line


def test_a_directory_without_a_key_is_said(tmp_path: Path) -> None:
    result = key("show", tmp_path)
    assert result.exit_code == 1
    assert "hs_ed25519_secret_key does not exist" in result.stderr
