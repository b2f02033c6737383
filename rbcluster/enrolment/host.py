"""Letting a new node in: a listener of its own for each invitation, as long as that lasts.

The token is spent by a committed command before anything is issued, so it is worth one node even if
two come at once, or this node dies halfway. The authority's key never leaves its folder; the master
keys travel only inside the TLS connection to the node that was admitted.

Not here: the other side (`guest.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from rbcluster.agent.clock import Clock
from rbcluster.agent.operator import Operator
from rbcluster.certification import certify_request, check_request, fingerprint
from rbcluster.config import Config, NodeConfig, NodePaths, PublishConfig
from rbcluster.config_text import encode_config
from rbcluster.core.commands import AcceptInvitation, Invite
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.core.state import ClusterState, Invitation, Role, Wish
from rbcluster.endpoint import HostPort, explain
from rbcluster.enrolment.exchange import (
    MAX_MESSAGE_BYTES,
    Admission,
    Answer,
    JoinRequest,
    Welcome,
    receive,
    send,
)
from rbcluster.enrolment.token import SECRET_BYTES, Token
from rbcluster.errors import ConfigError, ParseError, RbclusterError
from rbcluster.pki import Authority, NodeTls, holds_authority, load_authority
from rbcluster.raft.entrance import Entrance, listen, secure
from rbcluster.raft.gate import Gate, TurnedAway
from rbcluster.raft.throttle import Throttle

_LOG = logging.getLogger(__name__)

MAX_LIFETIME = timedelta(days=7)
GUEST_TIMEOUT_S = 10.0

_OFFLINE = (
    "the authority's key is not on this node, so it can't let nodes in: where the key is, run "
    "`rbcluster certify DIR NODE`, bring the new node its folder, and `rbcluster add NODE ADDRESS` "
    "here; or invite on a voter that has the key, or bring the folder `ca` of `rbcluster init` "
    "here, as {}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What letting a node in takes."""

    node: NodeId
    config: Config
    paths: NodePaths
    operator: Operator
    clock: Clock
    read_keys: Callable[[], Mapping[str, bytes]]  # by service: tor's hs_ed25519_secret_key


@dataclass(slots=True)
class JoinHost:
    """Keeps the listeners of this node's invitations."""

    means: Means
    _listeners: set[asyncio.Task[None]] = field(default_factory=set)

    async def invite(self, listen: HostPort, lifetime: timedelta, wish: Wish) -> Token:
        """Open a join listener, and make the token for it.

        :param listen: where the new node will come; the token names it.
        :raises ConfigError: if this node can't certify, or can't listen there.
        :raises RaftError: if the invitation was not committed.
        """
        if not timedelta() < lifetime <= MAX_LIFETIME:
            raise ConfigError(f"an invitation lasts up to {MAX_LIFETIME.days} days")
        authority = self._authority()
        secret = secrets.token_bytes(SECRET_BYTES)
        token = Token(listen, fingerprint(authority.certificate), secret)
        expires_at = UnixMs(
            self.means.clock.wall_ms() + round(lifetime / timedelta(milliseconds=1))
        )
        listener = _Listener(self.means, authority, token, _tls_context(self.means.paths))
        server = await listener.open()
        try:
            invitation = Invitation(expires_at=expires_at, role=wish)
            await self.means.operator.propose(Invite(digest=token.digest, invitation=invitation))
        except BaseException:
            server.close()
            raise
        task = asyncio.create_task(listener.serve(server, lifetime))
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)
        return token

    def _authority(self) -> Authority:
        directory = self.means.paths.authority_dir
        if not holds_authority(directory):
            raise ConfigError(_OFFLINE.format(directory))
        return load_authority(directory)

    async def aclose(self) -> None:
        """Close every listener: tokens made here are worth nothing without them."""
        tasks = tuple(self._listeners)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class _Listener:
    means: Means
    authority: Authority
    token: Token
    tls: ssl.SSLContext
    _spent: asyncio.Event = field(default_factory=asyncio.Event)
    _gate: Gate = field(default_factory=lambda: Gate(_note_turned_away))
    _guests: set[asyncio.Task[None]] = field(default_factory=set)
    _throttle: Throttle = field(default_factory=Throttle)

    async def open(self) -> socket.socket:
        """Listen.

        :raises ConfigError: if that can't be.
        """
        address = self.token.address
        try:
            return await listen(address.host, address.port)
        except OSError as error:
            raise ConfigError(f"can't listen on {address} ({explain(error)})") from error

    async def serve(self, server: socket.socket, lifetime: timedelta) -> None:
        """Keep the listener until the token is spent or expires, and close it."""
        entrance = Entrance(
            server=server, gate=self._gate, welcome=self._begin, complain=self._complain
        )
        accepting = asyncio.create_task(entrance.accept_all())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(lifetime.total_seconds()):
                    await self._spent.wait()
        except asyncio.CancelledError:  # the node stops; else whoever is inside gets its answer
            for guest in self._guests:
                guest.cancel()
            raise
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            server.close()

    def _begin(self, connection: socket.socket, source: str) -> asyncio.Task[None]:
        guest = asyncio.create_task(self._serve(connection, source))
        self._guests.add(guest)
        guest.add_done_callback(self._guests.discard)
        guest.add_done_callback(self._gate.leave)
        return guest

    async def _serve(self, connection: socket.socket, source: str) -> None:
        try:
            async with asyncio.timeout(GUEST_TIMEOUT_S):
                await self._converse(connection)
        except (OSError, TimeoutError, ParseError) as error:
            why = error or "no answer in time"
            if self._spent.is_set():
                _LOG.warning("a node was let in, but may not know it (%s): see its own words", why)
            else:
                level = logging.INFO if self._throttle.permits(source) else logging.DEBUG
                _LOG.log(level, "a guest from %s was not let in: %s", source, why)

    async def _converse(self, connection: socket.socket) -> None:
        reader, writer = await secure(connection, self.tls, MAX_MESSAGE_BYTES)
        try:
            pem = self.authority.certificate.public_bytes(Encoding.PEM).decode()
            await send(writer, Welcome(authority=pem))
            request = await receive(reader, JoinRequest)
            await send(writer, await self._answer(request))
            writer.close()
            await writer.wait_closed()
        finally:
            writer.transport.abort()

    def _complain(self, error: OSError) -> None:
        _LOG.warning("the join listener at %s: %s", self.token.address, explain(error))

    async def _answer(self, request: JoinRequest) -> Answer:
        try:
            return Answer(admission=await self._admit(request))
        except (RbclusterError, ValueError) as error:
            _LOG.warning("a guest was rejected: %s", error)
            return Answer(rejection=str(error)[:1000])

    async def _admit(self, request: JoinRequest) -> Admission:
        """Spend the token, then certify. All that could be wrong is looked at before."""
        if not hmac.compare_digest(request.secret, self.token.secret):
            raise ConfigError("that token is not the one of this invitation")
        guest = asyncio.current_task()
        assert guest is not None
        self._gate.leave(guest)  # from here on nobody newer takes its place
        node, address = NodeId(request.node), HostPort.parse(request.address)
        check_request(request.request.encode(), node)
        means = self.means
        keys = means.read_keys()
        await means.operator.propose(
            AcceptInvitation(
                proof=self.token.proof, node=node, address=str(address), at=means.clock.wall_ms()
            )
        )
        self._spent.set()
        _LOG.info("node=%s is let in", node)
        now = datetime.now(UTC)
        certificate = certify_request(self.authority, node, request.request.encode(), now)
        config = config_for(means.config, means.operator.cluster.state, means.node, node)
        return Admission(
            certificate=certificate.decode(),
            config=encode_config(config),
            keys={} if config.needs_no_master_key(node) else dict(keys),
        )


def _tls_context(paths: NodePaths) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    files = NodeTls(paths.tls_dir)
    context.load_cert_chain(files.certificate, files.key)
    return context


def _note_turned_away(why: TurnedAway) -> None:
    _LOG.debug("a guest was turned away: %s", why.value)


def config_for(config: Config, state: ClusterState, host: NodeId, guest: NodeId) -> Config:
    """Make the cluster.toml of a new node: the members as they are now, the guest last.

    It names this node as founder, so that the guest is none, whatever its name. What is one node's
    own (where it keeps its data, which tor it uses) is left at its default. A node with an onion
    address listens behind its tor, on the same port unless its operator says otherwise.
    """
    members = sorted(state.members.values(), key=lambda member: member.node == guest)
    nodes = tuple(
        NodeConfig.model_validate(
            {
                "name": member.node.name,
                "address": member.address,
                **_behind_its_tor(member.address),
                "role": Role.VOTER if member.wish is Wish.VOTER else Role.LEARNER,
                "weight": member.weight,
            }
        )
        for member in members
    )
    is_voter = state.members[host].wish is Wish.VOTER
    cluster = config.cluster.model_copy(update={"founder": host if is_voter else None})
    publish = PublishConfig.from_policy(state.policy)
    return config.model_copy(update={"cluster": cluster, "nodes": nodes, "publish": publish})


def _behind_its_tor(address: str) -> dict[str, str]:
    endpoint = HostPort.parse(address)
    return {"listen": f"127.0.0.1:{endpoint.port}"} if endpoint.host.endswith(".onion") else {}


def read_key_files(directories: Mapping[str, Path]) -> dict[str, bytes]:
    """Read the master key of each service, in tor's form.

    :raises ConfigError: if one can't be read.
    """
    try:
        return {service: path.read_bytes() for service, path in directories.items()}
    except OSError as error:
        raise ConfigError(f"a master key can't be read: {error.strerror}") from error
