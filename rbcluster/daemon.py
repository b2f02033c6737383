"""The daemon: opens a node's parts in order, runs it until told to stop, closes them in order.

What is wrong before the start (configuration, keys, certificates, a damaged journal) is raised, and
ends the process with a sentence. What goes wrong later is logged and retried, but for a disk that
failed: the engine's word could not be trusted any more, so the process ends and systemd starts it
anew. A managed tor is left running: a restart of rbcluster changes nothing outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rbcluster.agent.admission import refusal
from rbcluster.agent.clock import SystemClock
from rbcluster.agent.disk_probe import DiskProbe
from rbcluster.agent.keyring import Keyring
from rbcluster.agent.machine_facts import MachineFacts
from rbcluster.agent.members_operator import MembersOperator
from rbcluster.agent.node import Node
from rbcluster.api.routes import member_routes, operator_routes
from rbcluster.api.server import serve_api
from rbcluster.certification import recover_renewal
from rbcluster.config import Config, NodePaths, ServiceConfig
from rbcluster.core.apply import apply_bytes
from rbcluster.core.codec import decode_state, encode_state
from rbcluster.core.commands import SeedCluster, Verdict
from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState, Member, Role, Wish
from rbcluster.enrolment.host import JoinHost, Means, read_key_files
from rbcluster.enrolment.renewal import PREFIX as RENEWAL_PREFIX
from rbcluster.enrolment.renewal import Renewal
from rbcluster.errors import StorageError
from rbcluster.pki import holds_authority, verify_node_tls
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.machine import StateMachine
from rbcluster.raft.profile import PROFILES
from rbcluster.raft.settings import Founding, RaftSettings
from rbcluster.raft.storage import StoragePlace, had_another_before
from rbcluster.raft.tls import TlsFiles
from rbcluster.tor.controller import TorController
from rbcluster.tor.key_directory import SECRET_KEY_NAME
from rbcluster.tor.settings import Identity, ServiceSettings, TorMode, TorSettings

_LOG = logging.getLogger(__name__)

LEAVE_TIMEOUT_S = 4.0  # for handing the office over and stopping

STATE_MACHINE: StateMachine[ClusterState, Verdict] = StateMachine(
    initial=ClusterState(),
    apply=apply_bytes,
    encode=encode_state,
    decode=decode_state,
    roster=lambda state: state,
)


async def run_node(config: Config, name: NodeId) -> None:
    """Run one node until SIGTERM or SIGINT.

    :raises RbclusterError: if it can't start, or its disk fails.
    """
    paths = config.node(name).paths
    _look_for_authority(config, name, paths)
    services = _services(config, name, paths)
    keyring = _keyring(config, name, paths)
    parts = _Parts()
    engine = RaftEngine(
        _raft_settings(config, name, paths),
        STATE_MACHINE,
        admit=parts.admit,
        on_message=parts.hear,
    )
    tor = TorController(_tor_settings(config, name, paths), services, parts.ring)
    disk = DiskProbe(paths.raft_dir, parts.ring)
    parts.node = Node(
        name,
        cluster=engine,
        tor=tor,
        keyring=keyring,
        seed=_seed(config),
        clock=SystemClock(),
        rng=os.urandom,
        machine=MachineFacts(
            disk_fault=lambda: disk.fault,
            certificate_ends_at=lambda: parts.renewal.ends_at,
            holds_authority=lambda: holds_authority(paths.authority_dir),
        ),
    )
    parts.renewal = Renewal(
        node=name, paths=paths, links=engine, issuers=parts.node.peers.authorities
    )
    operator = parts.node.operator
    host = JoinHost(
        Means(
            node=name,
            config=config,
            paths=paths,
            operator=operator,
            clock=SystemClock(),
            read_keys=lambda: read_key_files(_key_files(config, paths)),
        )
    )
    routes = (*operator_routes(operator), *member_routes(MembersOperator(operator), host))
    async with _running(engine), serve_api(paths.api_socket, parts.node.status, routes):
        _LOG.info("node=%s of cluster=%s runs", name, config.cluster.name)
        async with (
            _background(tor.run()),
            _background(disk.run()),
            _background(parts.node.run()),
            _background(parts.renewal.run()),
            contextlib.aclosing(host),
        ):
            await _told_to_stop(engine)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await parts.node.office.leave_office()
    _LOG.info("node=%s has stopped", name)


@dataclass(slots=True)
class _Parts:
    """Ties the knot: the engine and tor call the node, which is made of them."""

    node: Node = field(init=False)
    renewal: Renewal = field(init=False)

    def ring(self) -> None:
        self.node.ring()

    def hear(self, sender: NodeId, payload: bytes) -> None:
        if payload.startswith(RENEWAL_PREFIX):
            self.renewal.hear(sender, payload)
        else:
            self.node.hear(sender, payload)

    def admit(self, sender: NodeId, command: bytes) -> str | None:
        node = self.node
        return refusal(
            sender,
            command,
            myself=node.node,
            members=node.cluster.state.members,
            consensus=node.tor.consensus,
            sight=node.office.members.sight,
        )


@contextlib.asynccontextmanager
async def _running(engine: RaftEngine[ClusterState, Verdict]) -> AsyncIterator[None]:
    await engine.start()
    try:
        yield
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def _background(work: Awaitable[None]) -> AsyncIterator[None]:
    """Do something as long as the block lasts."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _told_to_stop(engine: RaftEngine[ClusterState, Verdict]) -> None:
    """Wait for a signal.

    :raises StorageError: if the engine stops for good before.
    """
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    unsubscribe = engine.subscribe(lambda: over.set() if engine.failure else None)
    try:
        if not engine.failure:  # it may have failed before anyone listened
            await over.wait()
    finally:
        unsubscribe()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    if engine.failure:
        raise StorageError(f"the Raft engine stopped: {engine.failure}") from engine.failure


# --- from cluster.toml to what each part takes


def storage_place(config: Config, name: NodeId) -> StoragePlace:
    """Say where a node's Raft storage is, and whose it must be.

    :raises ConfigError: if there is no such node.
    """
    return StoragePlace(
        directory=config.node(name).paths.raft_dir,
        cluster=config.cluster.id,
        node=name,
        sync=config.cluster.fsync,
    )


def _raft_settings(config: Config, name: NodeId, paths: NodePaths) -> RaftSettings:
    recover_renewal(paths.tls_dir)
    tls = verify_node_tls(paths.tls_dir, name, datetime.now(UTC))
    place = storage_place(config, name)
    addresses = {node.name: (node.address.host, node.address.port) for node in config.nodes}
    others = [node for node in config.nodes if node.name != name]
    listen = config.node(name).listen or config.node(name).address
    return RaftSettings(
        cluster=place.cluster,
        node=name,
        listen=(listen.host, listen.port),
        peers={node.name: addresses[node.name] for node in others if node.role is Role.VOTER},
        data_dir=place.directory,
        sync=place.sync,
        tls=TlsFiles(ca=tls.authority, cert=tls.certificate, key=tls.key),
        profile=PROFILES[config.cluster.profile.value],
        via=config.transport.via,
        learner=config.node(name).role is Role.LEARNER,
        learners={node.name: addresses[node.name] for node in others if node.role is Role.LEARNER},
        founding=Founding(voters=config.voters, founder=_founder(config, name, place)),
    )


def _founder(config: Config, name: NodeId, place: StoragePlace) -> NodeId | None:
    """Say who founds the cluster: not this node, if it was in one before. That one may live on."""
    founder = config.cluster.founder or min(config.voters)
    if founder != name or not had_another_before(place.directory):
        return founder
    if not place.directory.exists():
        _LOG.warning(
            "node=%s had a storage before, so it founds no cluster: it waits for those that its "
            "cluster.toml names to let it in. To have it found one, move %s.set-aside-* away",
            name,
            place.directory,
        )
    return None


def _look_for_authority(config: Config, name: NodeId, paths: NodePaths) -> None:
    if config.node(name).issuer and not holds_authority(paths.authority_dir):
        _LOG.warning(
            "node=%s has issuer = true, but the authority's key is not in %s: it can certify "
            "nobody until the folder `ca` of `rbcluster init` is brought there",
            name,
            paths.authority_dir,
        )


def _services(config: Config, name: NodeId, paths: NodePaths) -> tuple[ServiceSettings, ...]:
    return tuple(
        ServiceSettings(
            address=service.address,
            directory=_service_directory(service, paths, config.identity),
            ports=tuple(str(port) for port in config.ports_of(name, service)),
            identity=config.identity,
        )
        for service in config.services
        if service.ports  # else only its backends serve it
    )


def _service_directory(service: ServiceConfig, paths: NodePaths, identity: Identity) -> Path:
    """Say where tor keeps what it serves a service with."""
    is_instance = identity is Identity.INSTANCE
    own = paths.instance_dir(service.name) if is_instance else paths.key_dir(service.name)
    return service.hidden_service_dir or own


def _key_directory(service: ServiceConfig, paths: NodePaths, identity: Identity) -> Path:
    """Say where a service's master key lies: where tor serves with it, in that directory."""
    if identity is Identity.SHARED and service.ports:
        return _service_directory(service, paths, identity)
    return paths.key_dir(service.name)


def _key_files(config: Config, paths: NodePaths) -> dict[str, Path]:
    return {
        service.name: _key_directory(service, paths, config.identity) / SECRET_KEY_NAME
        for service in config.services
    }


def _keyring(config: Config, name: NodeId, paths: NodePaths) -> Keyring:
    directories = {
        service.address: _key_directory(service, paths, config.identity)
        for service in config.services
    }
    return Keyring.load(directories, may_lack_keys=config.needs_no_master_key(name))


def _tor_settings(config: Config, name: NodeId, paths: NodePaths) -> TorSettings:
    tor = config.tor_of(name)
    return TorSettings(
        mode=tor.mode,
        tor_dir=paths.tor_dir,
        control=tor.control_endpoint if tor.mode is TorMode.SYSTEM else None,
        password=tor.read_password(),
        extra_lines=tor.extra,
        binary=tor.binary,
    )


def _seed(config: Config) -> SeedCluster:
    """Say how this node would found the cluster, should it be the first to lead it."""
    return SeedCluster(
        name=config.cluster.name,
        cluster_id=config.cluster.id,
        members=tuple(
            Member(
                node=node.name,
                address=str(node.address),
                role=node.role,
                weight=node.weight,
                wish=Wish(node.role.value),
            )
            for node in config.nodes
        ),
        services={service.address: service.name for service in config.services},
        policy=config.publish.to_policy(os.urandom(32)),
        backends=frozenset(
            (service.address, backend.address)
            for service in config.services
            for backend in service.backends
        ),
    )
