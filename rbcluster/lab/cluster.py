"""A cluster on this machine: real `rbcluster run` processes, each with its own tor and web page.

Everything goes through what an operator has: `rbcluster init` makes keys and certificates, a
cluster.toml ties the nodes together, the status document tells how they are. Only the network is
private.

Not here: what is done to the cluster, and what must come of it (the demo, `tests/e2e`).

Overview::

    LabCluster   start() -> serving; address(es); nodes; status(); wait_until(condition); stop()
    is_served    the condition that all of it is as it should be
    is_without   the condition that nothing of a node is on show any more
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.client import NoDaemon, fetch_status
from rbcluster.config import NodePaths, load_config
from rbcluster.errors import RbclusterError, TorError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.lab.lifetime import Lifetime
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import COMMAND, NodeProcess
from rbcluster.lab.node_tor import points_of
from rbcluster.lab.ports import LOOPBACK, PortReservation
from rbcluster.lab.waiting import wait_for
from rbcluster.lab.webpage import WebPage
from rbcluster.tor.own_address import find_own_addresses
from rbcluster.tor.settings import Identity, ServiceSettings

Condition = Callable[[StatusDocument], bool]

SERVICE = "web"
DEFAULT_NAMES = ("a", "b", "c")

_INIT_TIMEOUT_S = 60.0
_STATUS_TIMEOUT_S = 2.0


def is_served(document: StatusDocument) -> bool:
    """Whether the cluster is healthy and every descriptor is where clients look for it."""
    return document["health"] == "healthy" and all(
        service["published"] for service in document["services"]
    )


def is_without(document: StatusDocument, name: str) -> bool:
    """Whether a node has no points in the pool, and every HSDir holds what is wanted since."""
    node = next(node for node in document["nodes"] if node["name"] == name)
    return not node["intro_points"] and all(
        service["published"] for service in document["services"]
    )


class LabCluster(Lifetime):
    """Nodes that serve the same onion addresses in a private network.

    Each node has a web page for each service, which names the node; where there are several
    services, the service before it. They live in the event loop that called `start`.

    :param names: of the nodes, a to z, digits and hyphens.
    :param publish: keys of cluster.toml's ``[publish]`` that differ from their defaults.
    :param services: their names; `address` and `pages` are those of the first.
    :param key: a master key to import for the first service; None makes a new one.
    :param identity: whose onion keys the nodes' tors serve with.
    :param backends: onion services that answer for the first service beside the nodes.
    """

    def __init__(
        self,
        network: PrivateNetwork,
        names: Sequence[str] = DEFAULT_NAMES,
        *,
        name: str = "lab",
        publish: Mapping[str, float] = MappingProxyType({}),
        services: Sequence[str] = (SERVICE,),
        key: Path | None = None,
        identity: Identity = Identity.SHARED,
        backends: Sequence[OnionAddress] = (),
    ) -> None:
        self.directory = network.directory / f"cluster-{name}"
        self.pages_of = {
            service: {
                node: WebPage(node if len(services) == 1 else f"{service} {node}") for node in names
            }
            for service in services
        }
        self.nodes: Mapping[str, NodeProcess] = {
            node: NodeProcess(self._config, node, NodePaths(self.directory / "nodes" / node))
            for node in names
        }
        self._name = name
        self._network = network
        self._publish = publish
        self._key = key
        self._identity = identity
        self._backends = backends
        self._ports = PortReservation()

    @property
    def _config(self) -> Path:
        return self.directory / "cluster.toml"

    @property
    def pages(self) -> dict[str, WebPage]:
        """The web pages of the first service, by node."""
        return next(iter(self.pages_of.values()))

    @property
    def addresses(self) -> Mapping[str, OnionAddress]:
        """The addresses all nodes serve, by service.

        :raises ConfigError: if the cluster was not started.
        """
        return {service.name: service.address for service in load_config(self._config).services}

    @property
    def address(self) -> OnionAddress:
        """The address of the first service.

        :raises ConfigError: if the cluster was not started.
        """
        return next(iter(self.addresses.values()))

    def own_address(self, name: str) -> OnionAddress:
        """Find under which address a node's tor itself serves the first service.

        :raises ConfigError: if the cluster was not started.
        :raises TorError: if tor has not written it yet.
        """
        service = next(iter(self.pages_of))
        directory = self.nodes[name].paths.instance_dir(service)
        settings = ServiceSettings(
            address=self.address, directory=directory, identity=self._identity
        )
        found, faults = find_own_addresses([settings])
        if faults:
            raise TorError(faults[0])
        return found[self.address]

    def _all_pages(self) -> Iterator[WebPage]:
        return chain.from_iterable(pages.values() for pages in self.pages_of.values())

    async def start(self) -> None:
        """Make the cluster and start every node; `wait_until(is_served, ...)` tells when it serves.

        :raises RbclusterError: if it can't be made; nothing of it is left then.
        """
        try:
            for page in self._all_pages():
                await page.start()
            await self.prepare()
            for node in self.nodes.values():
                node.start()
        except BaseException:  # Ctrl-C too
            await self.stop()
            raise

    async def prepare(self) -> None:
        """Make keys and certificates by `rbcluster init`, then the lab's own cluster.toml.

        `start` does it; by itself it is for those who start nodes in a way of their own. The web
        pages must have been started.

        :raises RbclusterError: if `rbcluster init` fails.
        """
        addresses = {node: f"{LOOPBACK}:{self._ports.reserve()}" for node in self.nodes}
        node_options = [f"--node={node}={address}" for node, address in addresses.items()]
        process = await asyncio.create_subprocess_exec(
            *(str(COMMAND), "init", str(self.directory), "--name", self._name, *node_options),
            *self._service_options(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_INIT_TIMEOUT_S):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode != 0:
            raise RbclusterError(f"rbcluster init failed: {output.decode(errors='replace')}")
        self._config.write_text(self._encode_config(addresses))

    def _service_options(self) -> list[str]:
        """Name the services to `rbcluster init`; every node gets ports of its own later."""
        first, *others = self.pages_of
        keyed = f"{first}={self._key}" if self._key else first
        return [f"--service={service}" for service in (keyed, *others)]

    async def stop(self) -> None:
        """Kill every process and remove every file of it; safe to call twice."""
        for node in self.nodes.values():
            node.send_kill(with_tor=True)
        try:
            for node in self.nodes.values():
                await node.kill(with_tor=True)
        finally:
            for page in self._all_pages():
                await page.stop()
            self._ports.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    async def status(self, name: str | None = None) -> StatusDocument:
        """Ask a node how the cluster is: the one named, else the first that answers.

        :raises NoDaemon: if none answers.
        """
        nodes = [self.nodes[name]] if name else [n for n in self.nodes.values() if n.pid]
        failure = NoDaemon("no node of the lab runs: start one")
        for node in nodes:
            try:
                return await fetch_status(node.paths.api_socket, _STATUS_TIMEOUT_S)
            except NoDaemon as error:
                failure = error
        raise failure

    async def points_of(self, name: str) -> frozenset[IntroAuthKey]:
        """Ask a node's tor, past rbcluster, which points it holds for the first service.

        :raises RbclusterError: if it has no descriptor yet, or does not answer.
        """
        points = await points_of(self.nodes[name], self.own_address(name))
        return frozenset(point.auth_key for point in points)

    async def wait_until(
        self, condition: Condition, what: str, limit_s: float, *, name: str | None = None
    ) -> StatusDocument:
        """Ask until a status document meets a condition, and return it.

        :param what: what is waited for, as the subject of a sentence.
        :param name: which node to ask; None: any that answers.
        :raises TimeoutError: if none does within the limit; the text says how things stand.
        """
        last: StatusDocument | None = None

        async def look() -> StatusDocument | None:
            nonlocal last
            try:
                last = await self.status(name)
            except NoDaemon:
                return None
            return last if condition(last) else None

        try:
            return await wait_for(look, what, limit_s)
        except TimeoutError as error:
            state = "no node answers" if last is None else "; ".join(last["problems"])
            raise TimeoutError(f"{error}: {state or 'no node sees a problem'}") from error

    def _encode_config(self, addresses: Mapping[str, str]) -> str:
        """Write a cluster.toml in which each node has a directory and a web page of its own."""
        torrc = [*self._network.client_torrc_lines, f"__OwningControllerProcess {os.getpid()}"]
        lines = ["[cluster]", f"name = {_toml(self._name)}"]
        lines += [f"identity = {_toml(self._identity.value)}", "[tor]", f"extra = {_toml(torrc)}"]
        lines += ["[publish]", *(f"{key} = {value}" for key, value in self._publish.items())]
        for service, onion_address in self.addresses.items():
            lines += [
                "[[service]]",
                f"name = {_toml(service)}",
                f"address = {_toml(str(onion_address))}",
                f'ports = ["80 {LOOPBACK}:80"]',  # every node has its own instead
            ]
            for backend in self._backends if service == next(iter(self.pages_of)) else ():
                lines += ["[[service.backend]]", f"address = {_toml(str(backend))}"]
        for name, node in self.nodes.items():
            ports = [
                f"{service} = {_toml([_port_of(pages[name])])}"
                for service, pages in self.pages_of.items()
            ]
            lines += [
                "[[node]]",
                f"name = {_toml(name)}",
                f"address = {_toml(addresses[name])}",
                f"data_dir = {_toml(str(node.paths.data_dir))}",
                f"ports = {{ {', '.join(ports)} }}",
            ]
        return "\n".join([*lines, ""])


def _port_of(page: WebPage) -> str:
    """Lead visitors to a page, as tor's HiddenServicePort."""
    host, port = page.address
    return f"80 {host}:{port}"


def _toml(value: str | list[str]) -> str:
    """Write text or a list of it; JSON's form of either is TOML's too."""
    return json.dumps(value)
