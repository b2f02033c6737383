"""`rbcluster import-onionbalance`: a cluster from Onionbalance's files, which stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from rbcluster.cli.main import main
from rbcluster.config import NodePaths, load_config
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import encode_tor_secret_key
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.key_directory import SECRET_KEY_NAME, read_secret_key
from rbcluster.tor.settings import Identity

PEM_SEED, TOR_SEED = bytes([1]) * 32, bytes([2]) * 32
PEM_SITE, TOR_SITE, ONE, TWO = (
    OnionAddress(IdentityKeypair.from_seed(bytes([number]) * 32).public) for number in (1, 2, 3, 4)
)
NODES = ("--node", "a=192.0.2.1:7300", "--node", "b=192.0.2.2:7300")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Onionbalance's directory: two services, one key in each form."""
    directory = tmp_path / "onionbalance"
    directory.mkdir()
    (directory / "config.yaml").write_text(
        f"services:\n- key: {PEM_SITE.label}.key\n  instances:\n"
        f"  - {{address: {ONE}, name: node1}}\n  - {{address: {TWO}, name: node2}}\n"
        f"- key: {TOR_SITE.label}.key\n  instances: [{{address: {TWO}}}]\n"
    )
    key = Ed25519PrivateKey.from_private_bytes(PEM_SEED)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    tor_file = encode_tor_secret_key(IdentityKeypair.from_seed(TOR_SEED))
    for site, data in ((PEM_SITE, pem), (TOR_SITE, tor_file)):
        (directory / f"{site.label}.key").touch(mode=0o600)
        (directory / f"{site.label}.key").write_bytes(data)
    return directory


def run(theirs: Path, *args: str) -> Result:
    options = ["--name", "moved", *NODES, *args]
    source, target = str(theirs / "config.yaml"), str(theirs.parent / "new")
    return CliRunner().invoke(main, ["import-onionbalance", source, target, *options])


def test_every_service_comes_with_its_key_and_its_backends(theirs: Path) -> None:
    result = run(theirs, "--service", "web", "--service", "blog")
    assert result.exit_code == 0, result.stderr
    made = theirs.parent / "new"
    config = load_config(made / "cluster.toml")
    assert config.identity is Identity.INSTANCE
    assert [
        (service.name, service.address, service.ports, [b.address for b in service.backends])
        for service in config.services
    ] == [("web", PEM_SITE, (), [ONE, TWO]), ("blog", TOR_SITE, (), [TWO])]
    for node in config.nodes:
        paths = NodePaths(made / "nodes" / str(node.name))
        for service in config.services:
            key = read_secret_key(paths.key_dir(service.name) / SECRET_KEY_NAME)
            assert OnionAddress(key.public) == service.address


def test_what_it_reads_stays_as_it_is(theirs: Path) -> None:
    before = {path: path.read_bytes() for path in theirs.iterdir()}
    assert run(theirs).exit_code == 0
    assert {path: path.read_bytes() for path in theirs.iterdir()} == before
    again = run(theirs)
    assert again.exit_code == 1
    assert "nothing is written over" in again.stderr


def test_services_get_numbers_where_nobody_names_them(theirs: Path) -> None:
    assert run(theirs).exit_code == 0
    config = load_config(theirs.parent / "new" / "cluster.toml")
    assert [service.name for service in config.services] == ["service1", "service2"]


def test_it_says_what_was_read_and_what_differs(theirs: Path) -> None:
    path = theirs / "config.yaml"
    path.write_text(path.read_text() + "status-socket-location: /run/ob\n")
    said = run(theirs).stdout
    assert f"service1 is {PEM_SITE} (a PEM file, as Onionbalance makes), with 2 backends" in said
    assert f"service2 is {TOR_SITE} (tor's key file of 96 bytes), with 1 backend\n" in said
    assert "Only one of the two may publish" in said
    assert "status-socket-location has no meaning here" in said
    assert "points between them" not in said


def test_more_points_than_a_descriptor_holds_are_told_of(theirs: Path) -> None:
    keys = (IdentityKeypair.from_seed(bytes([number]) * 32) for number in range(20, 27))
    many = "".join(f"  - {{address: {OnionAddress(key.public)}}}\n" for key in keys)
    path = theirs / "config.yaml"
    path.write_text(f"services:\n- key: {PEM_SITE.label}.key\n  instances:\n{many}")
    assert "The 7 backends of a service have more than 20 points" in run(theirs).stdout


def test_names_for_some_services_only_are_refused(theirs: Path) -> None:
    result = run(theirs, "--service", "web")
    assert result.exit_code == 1
    assert "has 2 services, but --service names 1" in result.stderr
    assert not (theirs.parent / "new").exists()


def test_key_that_others_can_read_is_refused_and_nothing_is_made(theirs: Path) -> None:
    (theirs / f"{PEM_SITE.label}.key").chmod(0o644)
    result = run(theirs)
    assert result.exit_code == 1
    assert "open to others (mode 0644)" in result.stderr
    assert not (theirs.parent / "new").exists()
