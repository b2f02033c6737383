"""Onionbalance's configuration, read: what it means, or every fault of it with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.onionbalance import BalancedService, read_onionbalance

ONE, TWO, THREE = (
    OnionAddress(IdentityKeypair.from_seed(bytes([number]) * 32).public) for number in (1, 2, 3)
)
TEXT = f"""\
# Onionbalance Config File
services:
- instances:
  - address: {ONE}
    name: node1
  - address: {TWO.label}
    name: node2
  key: first.key
- instances:
  - address: {THREE}
  key: /keys/hs_ed25519_secret_key
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(TEXT)
    return tmp_path / "config.yaml"


def faults(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_onionbalance(path)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


def test_services_have_their_keys_beside_the_file_unless_a_path_says_otherwise(path: Path) -> None:
    found = read_onionbalance(path)
    assert found.services == (
        BalancedService(key_file=path.parent / "first.key", backends=(ONE, TWO)),
        BalancedService(key_file=Path("/keys/hs_ed25519_secret_key"), backends=(THREE,)),
    )
    assert found.unused == ()


def test_backend_given_twice_is_one(path: Path) -> None:
    path.write_text(TEXT.replace(TWO.label, str(ONE)))
    assert read_onionbalance(path).services[0].backends == (ONE,)


def test_keys_that_mean_nothing_here_are_named_with_their_places(path: Path) -> None:
    more = TEXT.replace("    name: node1", "    name: node1\n    weight: 2")
    path.write_text(more + "  colour: red\nstatus-socket-location: /run/x\n")
    assert read_onionbalance(path).unused == (
        "status-socket-location",
        "services[0].instances[0].weight",
        "services[1].colour",
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "the file: Input should be a valid dictionary"),
        ("- 1", "the file: Input should be a valid dictionary"),
        ("a: 1", "services: Field required"),
        ("services: []", "services: List should have at least 1 item"),
        ("services: [{instances: [{address: x}]}]", "services[0].key: Field required"),
        ("services: [{key: x}]", "services[0].instances: Field required"),
        ("services: [{key: x, instances: []}]", "services[0].instances: List should have at"),
        ("services: [{key: x, instances: [{}]}]", "services[0].instances[0].address: Field req"),
        (
            "services: [{key: x, instances: [{address: '<Enter the instance onion address>'}]}]",
            "services[0].instances[0].address: '<Enter the instance onion address>' is no v3",
        ),
        ("services: [", "is not YAML: "),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML: "),
    ],
)
def test_what_is_wrong_is_named_with_its_place(path: Path, text: str, fault: str) -> None:
    assert faults(path, text)[0].startswith(fault)


def test_all_wrong_addresses_are_named_together(path: Path) -> None:
    told = faults(path, TEXT.replace(str(ONE), "one").replace(TWO.label, "two"))
    assert [line.partition(": ")[0] for line in told] == [
        "services[0].instances[0].address",
        "services[0].instances[1].address",
    ]


def test_file_that_is_not_there_or_no_text_is_a_config_error(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_onionbalance(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"name Onionbalance's config\.yaml"):
        read_onionbalance(path)
