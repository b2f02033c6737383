"""A tor that runs already: rbcluster uses it, refuses it when it is wrong, and leaves it alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from rbcluster.agent.status_document import StatusDocument
from rbcluster.lab.cluster import SERVICE, LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import COMMAND, NodeProcess
from rbcluster.lab.ports import LOOPBACK, PortReservation
from rbcluster.lab.tor_process import TorProcess
from rbcluster.lab.visitor import Visitor
from rbcluster.tor.key_directory import import_secret_key, write_key_directory
from tests.e2e.care import LogWatch, node_of, run

_LIMIT_S = 120.0
_PASSWORD = 'correct "horse"'
_STARTING = ("tor has no consensus yet", "no microdescriptor of any HSDir yet")
_PUBLISH_NOTHING = "PublishHidServDescriptors 0"
_INSTANCE = "HiddenServiceOnionbalanceInstance 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A cluster of one node that does not run yet, and where its operator keeps a tor."""

    network: PrivateNetwork
    cluster: LabCluster
    tor_directory: Path
    control_port: int

    @property
    def node(self) -> NodeProcess:
        return self.cluster.nodes["a"]

    @property
    def service_directory(self) -> Path:
        return self.tor_directory / "service"

    @property
    def control_socket(self) -> Path:
        return self.tor_directory / "control"

    @property
    def config(self) -> Path:
        return self.cluster.directory / "cluster.toml"

    def prepare_service(self) -> None:
        """Give tor the master key, and the ob_config that must be there before it starts."""
        key = import_secret_key(self.node.paths.key_dir(SERVICE) / "hs_ed25519_secret_key").keypair
        self.tor_directory.mkdir(mode=0o700)
        write_key_directory(self.service_directory, key)
        address = self.cluster.address
        (self.service_directory / "ob_config").write_text(f"MasterOnionAddress {address}\n")

    def make_tor(self, *control: str, without: tuple[str, ...] = ()) -> TorProcess:
        """Make a tor with the torrc that the operator should write, less some lines."""
        host, port = self.cluster.pages["a"].address
        lines = [
            *self.network.client_torrc_lines,
            *control,
            "SocksPort 0",
            _PUBLISH_NOTHING,
            f"HiddenServiceDir {self.service_directory}",
            f"HiddenServicePort 80 {host}:{port}",
            _INSTANCE,
        ]
        return TorProcess(self.tor_directory, [line for line in lines if line not in without])

    def edit_config(self, *tor_lines: str) -> None:
        """Tell rbcluster of this tor, as the operator does in cluster.toml."""
        table = "\n".join(['mode = "system"', *tor_lines])
        text = re.sub(r"^extra = .*$", lambda _: table, self.config.read_text(), flags=re.MULTILINE)
        place = f'[[service]]\nhidden_service_dir = "{self.service_directory}"'
        self.config.write_text(text.replace("[[service]]", place))

    async def by_password(self, *, password: str = _PASSWORD) -> str:
        """Have rbcluster authenticate by password on a TCP port; return the line for torrc."""
        file = self.cluster.directory / "password"
        file.touch(mode=0o600)
        file.write_text(f"{password}\n")
        endpoint = f"{LOOPBACK}:{self.control_port}"
        self.edit_config(f'control = "{endpoint}"', f'password_file = "{file}"')
        _, output = await run("tor", "--quiet", "--hash-password", _PASSWORD)
        return f"ControlPort {endpoint}\nHashedControlPassword {output.split()[-1]}"

    async def by_cookie(self) -> str:
        """Have rbcluster authenticate by cookie on a Unix socket; return the line for torrc."""
        self.edit_config(f'control = "unix:{self.control_socket}"')
        return "CookieAuthentication 1"


@pytest_asyncio.fixture(loop_scope="session")
async def place(network: PrivateNetwork) -> AsyncIterator[Place]:
    ports = PortReservation()
    place = Place(
        network=network,
        cluster=LabCluster(network, ("a",), name="one"),
        tor_directory=network.directory / "system-tor",
        control_port=ports.reserve(),
    )
    try:
        await place.cluster.pages["a"].start()
        await place.cluster.prepare()
        place.prepare_service()
        yield place
    finally:
        await place.cluster.stop()
        ports.close()
        shutil.rmtree(place.tor_directory, ignore_errors=True)


def faults_in(document: StatusDocument) -> list[str]:
    """List why nodes could not publish; a cluster not founded yet has no nodes."""
    return [fault for node in document["nodes"] for fault in node["faults"]]


@contextmanager
def running(tor: TorProcess) -> Iterator[TorProcess]:
    tor.start()
    try:
        yield tor
    finally:
        tor.kill()


@pytest.mark.parametrize("way", [Place.by_password, Place.by_cookie])
async def test_a_tor_of_the_operator_serves_on_while_rbcluster_is_restarted(
    place: Place, visitor: Visitor, way: Callable[[Place], Awaitable[str]]
) -> None:
    logs = LogWatch(place.cluster)
    logs.expect(*_STARTING)
    with running(place.make_tor(await way(place))) as tor:
        await tor.wait_for_log("Bootstrapped 100%", _LIMIT_S)
        pid = tor.pid
        place.node.start()
        await place.cluster.wait_until(is_served, "a descriptor", _LIMIT_S)
        first = await visitor.visit(place.cluster.address, refetch=True)
        await place.node.stop()
        meanwhile = await visitor.visit(place.cluster.address, refetch=True)
        place.node.start()
        await place.cluster.wait_until(is_served, "the restarted node", _LIMIT_S)
        again = await visitor.visit(place.cluster.address, refetch=True)

        assert tor.pid == pid
        assert not any("reload" in line for line in tor.log_lines())
        assert logs.findings() == []
    for visit in (first, meanwhile, again):
        assert (visit.error, visit.text) == (None, "a")


async def test_a_tor_without_the_options_is_refused_in_clear_words_until_it_has_them(
    place: Place, visitor: Visitor
) -> None:
    control = await place.by_cookie()
    with running(place.make_tor(control, without=(_PUBLISH_NOTHING, _INSTANCE))) as wrong:
        await wrong.wait_for_log("Bootstrapped 100%", _LIMIT_S)
        place.node.start()
        document = await place.cluster.wait_until(
            lambda d: bool(d["services"]) and any("Publish" in fault for fault in faults_in(d)),
            "a founded cluster and the refusal",
            _LIMIT_S,
        )
        code, output = await run(
            *(str(COMMAND), "status", "--config", str(place.config), "--node", "a")
        )
    node, (service,) = node_of(document, "a"), document["services"]
    publish, instance, *others = faults_in(document)
    assert publish == (
        "PublishHidServDescriptors is 1: tor would publish over the cluster's descriptor; "
        "set it to 0 in torrc and restart tor"
    )
    assert instance.startswith("HiddenServiceOnionbalanceInstance is not 1 for ")
    assert instance.endswith("; set it in torrc and restart tor")
    assert set(others) <= {"tor has no consensus yet"}
    assert (node["can_publish"], service["pool"]) == (False, 0)
    assert all(descriptor["revision"] is None for descriptor in service["descriptors"])
    assert code == 1
    assert "PublishHidServDescriptors is 1" in " ".join(output.split())
    assert f"WARNING rbcluster.tor.controller: tor: {publish}" in place.node.log_text()
    assert f"WARNING rbcluster.tor.controller: tor: {instance}" in place.node.log_text()

    with running(place.make_tor(control)):
        await place.cluster.wait_until(is_served, "a descriptor", _LIMIT_S)
        visit = await visitor.visit(place.cluster.address, refetch=True)
    assert (visit.error, visit.text) == (None, "a")


async def test_a_wrong_password_is_said_so_and_never_shown(place: Place) -> None:
    control = await place.by_password(password="battery staple")
    with running(place.make_tor(control)) as tor:
        await tor.wait_for_log("Bootstrapped 0%", _LIMIT_S)
        place.node.start()
        document = await place.cluster.wait_until(
            lambda d: any("refused" in fault for fault in faults_in(d)), "the refusal", _LIMIT_S
        )
    (fault,) = (fault for fault in faults_in(document) if "refused" in fault)
    assert "refused authentication" in fault
    assert "HashedControlPassword" in fault
    assert fault in place.node.log_text()
    assert "staple" not in place.node.log_text()
