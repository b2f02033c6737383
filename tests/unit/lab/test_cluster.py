from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rbcluster.api.client import NoDaemon
from rbcluster.config import Config, load_config
from rbcluster.core.ids import NodeId
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.identity import parse_tor_secret_key
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.lab.cluster import SERVICE, LabCluster
from rbcluster.lab.webpage import WebPage
from tests.unit.lab.place import PlaceOnly


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LabCluster]:
    """Return a cluster with its keys and its cluster.toml, none of whose nodes runs.

    Made once: tests only look at it.
    """
    place = PlaceOnly(tmp_path_factory.mktemp("lab"))
    made = LabCluster(place, ("a", "b"), publish={"withdraw_after": 3.5})
    for page in made.pages.values():
        await page.start()
    await made.prepare()
    yield made
    await made.stop()


@pytest.fixture(scope="module")
def config(cluster: LabCluster) -> Config:
    return load_config(cluster.directory / "cluster.toml")


def test_every_node_leads_to_its_own_page(cluster: LabCluster, config: Config) -> None:
    (service,) = config.services
    for name, page in cluster.pages.items():
        host, port = page.address

        (own,) = config.ports_of(NodeId(name), service)
        assert str(own) == f"80 {host}:{port}"


def test_every_node_has_the_key_of_the_address_they_share(
    cluster: LabCluster, config: Config
) -> None:
    for node in config.nodes:
        key_file = node.paths.key_dir(SERVICE) / "hs_ed25519_secret_key"

        assert parse_tor_secret_key(key_file.read_bytes()).public == cluster.address.identity


async def test_a_key_at_hand_is_imported(tmp_path: Path) -> None:
    keypair = IdentityKeypair.from_seed(bytes(range(32)))
    key_file = tmp_path / "seed"
    key_file.touch(mode=0o600)
    key_file.write_bytes(bytes(range(32)))
    async with WebPage("a") as page:
        made = LabCluster(PlaceOnly(tmp_path), ("a",), key=key_file)
        made.pages["a"] = page
        await made.prepare()

    assert made.address == OnionAddress(keypair.public)
    await made.stop()


async def test_every_service_has_an_address_and_a_page_on_each_node(tmp_path: Path) -> None:
    made = LabCluster(PlaceOnly(tmp_path), ("a", "b"), services=("web", "blog"))
    pages = {page for of_nodes in made.pages_of.values() for page in of_nodes.values()}
    for page in pages:
        await page.start()
    await made.prepare()

    config = load_config(made.directory / "cluster.toml")
    assert {s.name: s.address for s in config.services} == made.addresses
    assert list(made.addresses) == ["web", "blog"]
    assert len({*made.addresses.values()}) == 2
    assert (made.address, made.pages) == (made.addresses["web"], made.pages_of["web"])
    ports = {
        str(port)
        for service in config.services
        for node in config.nodes
        for port in config.ports_of(node.name, service)
    }
    assert ports == {"80 {}:{}".format(*page.address) for page in pages}
    await made.stop()


def test_every_managed_tor_joins_the_network_and_ends_with_the_lab(config: Config) -> None:
    for node in config.nodes:
        assert config.tor_of(node.name).extra == (
            'DirAuthority "x"',
            "TestingTorNetwork 1",
            f"__OwningControllerProcess {os.getpid()}",
        )


def test_settings_of_publishing_are_passed_on(config: Config) -> None:
    assert config.publish.withdraw_after == 3.5


async def test_a_cluster_of_which_no_node_runs_has_no_status(cluster: LabCluster) -> None:
    with pytest.raises(NoDaemon):
        await cluster.status()
    with pytest.raises(NoDaemon):
        await cluster.status("a")


async def test_waiting_for_a_cluster_that_does_not_run_says_so(cluster: LabCluster) -> None:
    with pytest.raises(TimeoutError, match=r"a leader did not come about .*: no node answers"):
        await cluster.wait_until(lambda _: True, "a leader", 0.05)


async def test_stopping_removes_every_file_and_may_be_repeated(tmp_path: Path) -> None:
    made = LabCluster(PlaceOnly(tmp_path), ("a",))
    await made.pages["a"].start()
    await made.prepare()
    assert made.directory.exists()

    await made.stop()
    await made.stop()

    assert not made.directory.exists()
