"""The mesh: one link to every reachable member, kept up by dialling again and again.

Of each pair of nodes one dials (`RaftSettings.dials`), so there is one connection per pair. A link
counts as up when TLS has proven both names and both sides have greeted::

    dialler    TCP, TLS ── HELLO ──>            <── HELLO ── up
    acceptor            ── HELLO ──> pause, HELLO ── up

The pause: a peer is not reported up within one append period of having been reported down. A second
connection of the same peer replaces the first, which is reported down before.

Not here: what frames mean (`engine.py`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

from rbcluster.complaint import Complaint
from rbcluster.core.ids import NodeId
from rbcluster.endpoint import HostPort, explain
from rbcluster.errors import RaftError
from rbcluster.instants import Monotonic
from rbcluster.raft.entrance import Entrance, listen, secure
from rbcluster.raft.frames import FrameError, FrameKind, Hello
from rbcluster.raft.gate import Gate, TurnedAway
from rbcluster.raft.link import Link, describe
from rbcluster.raft.settings import Address, RaftSettings
from rbcluster.raft.throttle import Throttle
from rbcluster.raft.tls import TlsContexts, load_contexts, peer_node, reload_contexts
from rbcluster.socks import connect_through

logger = logging.getLogger(__name__)

_FAILURES = (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError)
"""How a connection can fail: ssl.SSLError is an OSError; FrameError, MessageError a ValueError."""


class MeshListener(Protocol):
    """Who is told what happens on the mesh; in the loop, and never for a link that is down."""

    def greeting(self) -> Hello:
        """Return what this node says of itself."""

    def link_up(self, peer: NodeId, hello: Hello) -> None:
        """A peer can be reached; what it said of itself."""

    def link_down(self, peer: NodeId) -> None:
        """A peer can be reached no longer."""

    def link_full(self, peer: NodeId) -> None:
        """So much waits to be sent to a peer that nothing large should be added."""

    def link_drained(self, peer: NodeId) -> None:
        """A link that was full has sent most of it."""

    def turned_away(self, why: TurnedAway) -> None:
        """A connection from outside did not become a link."""

    def frame(self, peer: NodeId, kind: FrameKind, payload: object) -> None:
        """Take a frame; ValueError says that no honest peer sends it, and ends the link."""


class Links(Protocol):
    """What the engine needs of a mesh; the simulator brings its own."""

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers whose link is up."""

    async def start(self) -> None:
        """Listen, and begin to dial."""

    async def stop(self) -> None:
        """Close everything in order."""

    def abort(self) -> None:
        """Cut everything at once."""

    def send(self, peer: NodeId, kind: FrameKind, payload: object) -> bool:
        """Queue a frame for a peer; False if there is no link to it."""

    def set_peers(self, dialled: Mapping[NodeId, Address], welcome: frozenset[NodeId]) -> None:
        """Dial these, let those in, and cut all others off."""

    def reload_certificate(self) -> None:
        """Show the certificate on disk to whoever connects from now on."""


MakeMesh = Callable[[RaftSettings, MeshListener], Links]
"""Makes the links of one node, not yet started."""


class Mesh:
    """All links of one node."""

    def __init__(self, settings: RaftSettings, listener: MeshListener) -> None:
        self._settings = settings
        self._listener = listener
        self._links: dict[NodeId, Link] = {}
        self._full: set[NodeId] = set()
        self._down_at: dict[NodeId, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = Gate(listener.turned_away)
        self._dialled: dict[NodeId, tuple[Address, asyncio.Task[None]]] = {}
        self._peers: Mapping[NodeId, Address] = {}
        self._welcome: frozenset[NodeId] = frozenset()
        self._contexts: TlsContexts | None = None
        self._throttle = Throttle()

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers whose link is up."""
        return frozenset(self._links)

    async def start(self) -> None:
        """Listen, and begin to dial.

        :raises ConfigError: if the certificate files can't be used.
        :raises RaftError: if the address can't be listened on.
        """
        contexts = load_contexts(self._settings.tls, self._settings.node)
        server = await self._listen()
        entrance = Entrance(
            server=server,
            gate=self._gate,
            welcome=lambda connection, source: self._spawn(
                self._serve(connection, source, contexts)
            ),
            complain=lambda error: self._warn("the listening socket", error),
        )
        accepting = self._spawn(entrance.accept_all())
        accepting.add_done_callback(lambda _: server.close())  # also if it never gets to begin
        self._spawn(self._keep_alive())
        self._contexts = contexts
        self.set_peers(self._peers, self._welcome)

    def reload_certificate(self) -> None:
        """Show the certificate on disk to whoever connects from now on.

        :raises ConfigError: if it can't be used.
        """
        if self._contexts is not None:
            reload_contexts(self._contexts, self._settings.tls, self._settings.node)

    def set_peers(self, dialled: Mapping[NodeId, Address], welcome: frozenset[NodeId]) -> None:
        """Dial these, let those in, and cut all others off.

        A link stays when its peer's address changes: the next one is made there. Else a wrong
        address could cost the quorum that it takes to mend it.
        """
        self._peers, self._welcome = dialled, welcome
        if self._contexts is None:
            return
        for peer, (address, task) in tuple(self._dialled.items()):
            is_moved = dialled.get(peer) != address
            if is_moved and (peer not in dialled or peer not in self._links):
                task.cancel()
                del self._dialled[peer]
        for peer, address in dialled.items():
            if peer not in self._dialled:
                work = self._dial_again_and_again(peer, self._contexts)
                self._dialled[peer] = (address, self._spawn(work))
        for peer, link in tuple(self._links.items()):
            if peer not in welcome:
                logger.info("link cut node=%s: it is no member", peer)
                link.take_no_more()
                self._forget(peer, link)
                self._spawn(link.close())  # what it was sent before, it may still hear: why

    async def _listen(self) -> socket.socket:
        host, port = self._settings.listen
        try:
            return await listen(host, port)
        except OSError as error:
            raise RaftError(
                f"can't listen on {host}:{port} ({explain(error)}): "
                "check this node's address in cluster.toml, and what else runs here"
            ) from error

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Close everything; at most about a second."""
        while tasks := tuple(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def abort(self) -> None:
        """Cut everything at once: not another byte leaves this node."""
        for link in self._links.values():
            link.abort()
        for task in self._tasks:
            task.cancel()

    def send(self, peer: NodeId, kind: FrameKind, payload: object) -> bool:
        """Queue a frame for a peer; never blocks.

        :returns: False if there is no link to it.
        """
        link = self._links.get(peer)
        if link is None or not link.send(kind, payload):
            return False
        if link.is_congested() and peer not in self._full:
            self._full.add(peer)
            self._listener.link_full(peer)
            self._spawn(self._await_drained(peer, link))
        return True

    async def _await_drained(self, peer: NodeId, link: Link) -> None:
        await link.drained()
        if self._links.get(peer) is link:
            self._full.discard(peer)
            self._listener.link_drained(peer)

    # Dialling

    async def _dial_again_and_again(self, peer: NodeId, contexts: TlsContexts) -> None:
        profile = self._settings.profile
        pause_s = profile.redial_min_s
        complaint = Complaint(logger, f"no link with {peer}")
        now = asyncio.get_running_loop().time
        while True:
            try:
                link, hello = await self._dial(peer, self._peers[peer], contexts)
                pause_s = profile.redial_min_s
                complaint.note("", now=Monotonic(now()))
                await self._run(peer, link, hello)
            except _FAILURES as error:
                complaint.note(describe(error), now=Monotonic(now()))
            except Exception:  # else this peer would never be dialled again
                logger.exception("a bug: the link with %s failed and is begun anew", peer)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, profile.redial_max_s)

    async def _dial(
        self, peer: NodeId, address: Address, contexts: TlsContexts
    ) -> tuple[Link, Hello]:
        async with asyncio.timeout(self._settings.profile.connect_timeout_s):
            reader, writer = await self._open_connection(peer, address, contexts.client)
            link = Link(reader, writer)
            try:
                _expect_name(peer_node(writer.get_extra_info("ssl_object")), peer)
                link.send(FrameKind.HELLO, self._listener.greeting().to_wire())
                hello = Hello.from_wire((await link.receive_first()).payload)
                _expect_name(hello.node, peer)
                self._expect_cluster(hello)
                await self._settle(peer)
            except BaseException:
                link.abort()
                raise
        return link, hello

    async def _open_connection(
        self, peer: NodeId, address: Address, context: ssl.SSLContext
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = address
        if (via := self._settings.via) is None:
            return await asyncio.open_connection(host, port, ssl=context, server_hostname=peer.name)
        connection = await connect_through(via, HostPort(host, port), user=peer.name)
        try:
            return await asyncio.open_connection(
                sock=connection, ssl=context, server_hostname=peer.name
            )
        except BaseException:
            connection.close()
            raise

    def _expect_cluster(self, hello: Hello) -> None:
        if hello.cluster != self._settings.cluster:
            raise FrameError(
                f"it is of cluster {hello.cluster}, not of {self._settings.cluster}: a restored "
                "cluster is another one, and every node must be of the same"
            )

    # Accepting

    async def _serve(self, connection: socket.socket, source: str, contexts: TlsContexts) -> None:
        attempt = asyncio.current_task()
        assert attempt is not None
        try:
            peer, link, hello = await self._accept(connection, contexts)
        except _FAILURES as error:
            self._gate.fail(error)
            self._warn(f"a connection from {source}", error)
            return
        finally:
            self._gate.leave(attempt)
        try:
            await self._run(peer, link, hello)
        except _FAILURES as error:
            self._warn(str(peer), error)

    async def _accept(
        self, connection: socket.socket, contexts: TlsContexts
    ) -> tuple[NodeId, Link, Hello]:
        async with asyncio.timeout(self._settings.profile.greet_timeout_s):
            reader, writer = await secure(connection, contexts.server)
            link = Link(reader, writer)
            try:
                peer = peer_node(writer.get_extra_info("ssl_object"))
                hello = Hello.from_wire((await link.receive_first()).payload)
                self._admit(peer, hello)
                await self._settle(peer)
                link.send(FrameKind.HELLO, self._listener.greeting().to_wire())
            except BaseException:
                link.abort()
                raise
        return peer, link, hello

    def _admit(self, peer: NodeId, hello: Hello) -> None:
        """Check that a certified node may connect."""
        _expect_name(hello.node, peer)
        self._expect_cluster(hello)
        self._expect_member(peer)
        if self._settings.node < peer:
            raise FrameError(f"{peer} dialled, though this node is to dial it")

    def _expect_member(self, peer: NodeId) -> None:
        if peer not in self._welcome:
            raise FrameError(f"{peer} is no member of this cluster: rbcluster add makes it one")

    # Links

    async def _settle(self, peer: NodeId) -> None:
        """End an older link of this peer, and wait until its end can't be overlooked."""
        older = self._links.get(peer)
        if older is not None:
            older.abort()
            self._forget(peer, older)
        since = asyncio.get_running_loop().time() - self._down_at.get(peer, float("-inf"))
        await asyncio.sleep(max(0.0, self._settings.profile.append_s - since))

    async def _run(self, peer: NodeId, link: Link, hello: Hello) -> None:
        """Hold a link until it ends, and say why it did by raising that."""
        if peer not in self._welcome:  # it was removed meanwhile
            link.abort()
            self._expect_member(peer)
        older = self._links.get(peer)
        if older is not None:  # it came up while this one waited
            older.abort()
            self._forget(peer, older)
        self._links[peer] = link
        logger.info("link up node=%s", peer)
        self._listener.link_up(peer, hello)
        try:
            await link.receive_all(self._deliver_from(peer))
        except asyncio.CancelledError:
            await link.close()
            raise
        finally:
            link.abort()
            self._forget(peer, link)

    def _deliver_from(self, peer: NodeId) -> Callable[[FrameKind, object], None]:
        return lambda kind, payload: self._listener.frame(peer, kind, payload)

    def _forget(self, peer: NodeId, link: Link) -> None:
        if self._links.get(peer) is not link:
            return
        del self._links[peer]
        self._full.discard(peer)
        self._down_at[peer] = asyncio.get_running_loop().time()
        logger.info("link down node=%s", peer)
        self._listener.link_down(peer)

    async def _keep_alive(self) -> None:
        """Let no link be silent, and cut those whose other end is."""
        profile = self._settings.profile
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(profile.ping_s)
            for peer, link in tuple(self._links.items()):
                silent_s = loop.time() - link.heard_at
                if silent_s > profile.link_timeout_s:
                    self._warn(str(peer), TimeoutError())
                    link.abort()
                else:
                    link.send(FrameKind.PING, None)

    def _warn(self, where: str, error: BaseException) -> None:
        level = logging.WARNING if self._throttle.permits(where) else logging.DEBUG
        logger.log(level, "no link with %s: %s", where, describe(error))


def _expect_name(found: NodeId, expected: NodeId) -> None:
    if found != expected:
        raise FrameError(f"it is {found}, not {expected}: check addresses and certificates")
