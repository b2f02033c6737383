"""The network between the nodes, in memory: one connection for each pair, as TCP would have it.

It stands where `raft/transport.py` has its mesh and behaves as that does: one side of a pair dials,
again and again, whom it is told to; both greet; only who is welcome gets a link; it comes up at
both ends, each at its own time; a peer is not reported up within one append period of having been
reported down; a new connection replaces an old one that only this end still believes in. What a
connection promises is TCP's promise: frames arrive in order and once, late perhaps, or else the
connection breaks. One thing is worse than TCP: a new connection may begin with frames that came
over the old one already. The shipped mesh does not do that, but what is above it must bear it.
Frames of different connections overtake each other freely.

Faults: latency and jitter, stalls (a retransmission), broken connections (a lost frame), cuts in
one direction or both. What is sent into a cut waits, and arrives late should the cut heal before
the link is given up. What a process sent before it died still arrives.

Not here: TLS, certificates, flow control (`tests/cluster` has them, over real sockets).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, replace

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.raft import codec
from rbcluster.raft.frames import FrameKind, Hello
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.transport import MeshListener
from tests.sim.links import Connection, Frame, SimMesh, Way
from tests.sim.loop import SimLoop

_APART_S = 1e-6  # between two frames: what is due at one instant has no order
_REPEATED = 8  # frames of an old connection that may come again over the new one
_RETRANSMIT_S = 0.5  # after a cut has healed, TCP tries again within this


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How bad the network is while no fault is at work."""

    latency_s: float = 0.002  # at least this long from node to node ...
    jitter_s: float = 0.002  # ... and this much more on average
    stall: float = 0.0  # probability that a frame, and all after it, waits for a retransmission
    stall_s: float = 1.0  # ... of up to this long
    loss: float = 0.0  # probability that a frame is lost for good: the connection breaks
    repeats: float = 0.0  # ... that a new connection begins with what came last over the old


class Network:
    """All processes' meshes, and what lies between them."""

    def __init__(self, loop: SimLoop, rng: random.Random, contexts: dict[NodeId, Context]) -> None:
        self._loop = loop
        self._rng = rng
        self.contexts = contexts
        self._meshes: dict[NodeId, SimMesh] = {}
        self._cuts: dict[Way, int] = {}  # how many faults cut this way just now
        self._cut_since: dict[Way, float] = {}
        self._reset: set[Way] = set()  # whose next connection surely begins with repetitions
        self._latest: dict[Way, deque[Frame]] = {}  # delivered over the last connection
        self._storages: dict[Way, Incarnation] = {}  # of the sender, then
        self.weather = Weather()
        self.on_sent: Callable[[Frame], None] = lambda _: None
        self.on_refused: Callable[[Frame, ValueError], None] = lambda _frame, _error: None

    def make_mesh(self, settings: RaftSettings, listener: MeshListener) -> SimMesh:
        return SimMesh(self, settings, listener)

    # A process comes and goes

    def open(self, mesh: SimMesh) -> None:
        """Let a process listen, and dial those that it is to dial."""
        mesh.is_open = True
        self._meshes[mesh.node] = mesh
        self.redial(mesh)

    def close(self, mesh: SimMesh, *, silently: bool = False) -> None:
        """End a process's connections. Its kernel tells the peers, unless it dies `silently`."""
        if not mesh.is_open:
            return
        mesh.is_open = False
        del self._meshes[mesh.node]
        for task in mesh.dialling.values():
            task.cancel()
        for peer, connection in tuple(mesh.links.items()):
            connection.is_broken = True
            self._tell(connection, mesh.node, peer, is_silent=silently)
        mesh.links.clear()

    # Dialling

    def redial(self, mesh: SimMesh) -> None:
        """Dial whom a process is to dial now, and nobody else any more."""
        for peer in mesh.dialling.keys() - mesh.dialled.keys():
            mesh.dialling.pop(peer).cancel()
        for peer in sorted(mesh.dialled.keys() - mesh.dialling.keys()):
            work = self._dial_again_and_again(mesh, peer)
            mesh.dialling[peer] = self._loop.create_task(work, context=Context())

    async def _dial_again_and_again(self, mesh: SimMesh, peer: NodeId) -> None:
        profile = mesh.settings.profile
        pause_s = profile.redial_min_s
        while True:
            try:
                connection = await self._dial(mesh, peer)
            except ConnectionError:  # one of the two is stopping
                connection = None
            if connection is not None:
                pause_s = profile.redial_min_s
                await self._hold(mesh, peer, connection)
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, profile.redial_max_s)

    async def _hold(self, mesh: SimMesh, peer: NodeId, connection: Connection) -> None:
        """Wait until a link has ended; who is not to dial this peer any more ends it."""
        try:
            await connection.ended.wait()
        except asyncio.CancelledError:
            self._run(mesh.node, self._give_up, mesh, peer, connection)
            raise

    async def _dial(self, mesh: SimMesh, peer: NodeId) -> Connection | None:
        """Try once; three messages each way must get through: TCP, TLS, greeting."""
        there, back = (mesh.node, peer), (peer, mesh.node)
        if self.is_cut(there) or self.is_cut(back):
            await asyncio.sleep(mesh.settings.profile.connect_timeout_s)
            return None
        hello = mesh.listener.greeting()
        await asyncio.sleep(sum(self._latency() for _ in range(6)))
        other = self._meshes.get(peer)
        if other is None or self.is_cut(there) or self.is_cut(back):
            return None
        if mesh.node not in other.welcome:
            return None
        await self._settle(other, mesh.node)
        if not other.is_open:
            return None
        connection = Connection(mesh.node)
        answer = other.listener.greeting()
        self._run(other.node, self._gain, other, connection, hello)
        greeting_s = max(self._latency(), self._pause_s(mesh, peer))
        connection.free_at[back] = self._loop.now + greeting_s
        try:
            await asyncio.sleep(greeting_s)
        except asyncio.CancelledError:
            connection.is_broken = True
            self._tell(connection, mesh.node, peer, is_silent=False)
            raise
        self._run(mesh.node, self._gain, mesh, connection, answer)
        return connection

    def _pause_s(self, mesh: SimMesh, peer: NodeId) -> float:
        since = self._loop.now - mesh.down_at.get(peer, float("-inf"))
        return max(0.0, mesh.settings.profile.append_s - since)

    async def _settle(self, mesh: SimMesh, peer: NodeId) -> None:
        """End a link that only this end still believes in, and wait until that is old news."""
        older = mesh.links.get(peer)
        if older is not None:
            older.is_broken = True
            self._lose(mesh, peer, older)
            await asyncio.sleep(_APART_S)
        await asyncio.sleep(self._pause_s(mesh, peer))

    def _gain(self, mesh: SimMesh, connection: Connection, hello: Hello) -> None:
        """A link comes up, in the eyes of one end."""
        peer = hello.node
        if not mesh.is_open or connection.is_broken or peer not in mesh.welcome:
            connection.is_broken = True
            connection.end(mesh.node)
            self._tell(connection, mesh.node, peer, is_silent=False)
            return
        if peer in mesh.links:
            self._forget(mesh, peer)
        mesh.links[peer] = connection
        connection.known_at.add(mesh.node)
        mesh.listener.link_up(peer, hello)
        for frame in tuple(connection.early):
            if frame.way[1] == mesh.node:
                self._hand_over(mesh, frame)
        if self.is_cut((peer, mesh.node)):
            self._watch(mesh, peer, connection)
        self._repeat((peer, mesh.node), connection, hello.incarnation)

    def _repeat(self, way: Way, connection: Connection, storage: Incarnation) -> None:
        repeated = self._latest.pop(way, ())
        if self._storages.get(way) != storage:
            repeated = ()  # it is another node by now
        self._storages[way] = storage
        if way in self._reset or self._rng.random() < self.weather.repeats:
            self._reset.discard(way)
            for frame in repeated:
                self._send_on(replace(frame, connection=connection), 0.0)

    # The end of a connection

    def _forget(self, mesh: SimMesh, peer: NodeId) -> None:
        """Tell a process that a link is down."""
        del mesh.links[peer]
        mesh.down_at[peer] = self._loop.now
        mesh.listener.link_down(peer)

    def _lose(self, mesh: SimMesh, peer: NodeId, connection: Connection) -> None:
        """One end learns that the connection is no more."""
        connection.end(mesh.node)
        self._run(mesh.node, self._notice, mesh, peer, connection)

    def _notice(self, mesh: SimMesh, peer: NodeId, connection: Connection) -> None:
        if mesh.is_open and mesh.links.get(peer) is connection:
            self._forget(mesh, peer)

    def cut_off(self, mesh: SimMesh, peer: NodeId) -> None:
        """End the link with a peer that is not welcome any more; called by the process itself."""
        connection = mesh.links[peer]
        connection.is_broken = True
        connection.end(mesh.node)
        self._tell(connection, mesh.node, peer, is_silent=False)
        self._forget(mesh, peer)

    def _tell(self, connection: Connection, end: NodeId, other: NodeId, *, is_silent: bool) -> None:
        """Let the other end know: by a reset, which comes after what was sent, or by silence."""
        mesh, way = self._meshes.get(other), (end, other)
        if mesh is None:
            return
        delay_s = max(self._latency(), connection.free_at.get(way, 0.0) - self._loop.now)
        if is_silent or self.is_cut(way):
            delay_s = self._patience_s(mesh)
        self._later(delay_s, self._lose, mesh, end, connection)

    def _patience_s(self, mesh: SimMesh) -> float:
        profile = mesh.settings.profile
        return profile.link_timeout_s + profile.ping_s * self._rng.random()

    def _give_up(self, mesh: SimMesh, peer: NodeId, connection: Connection) -> None:
        """Nothing was heard for too long: end it from this side."""
        if mesh.links.get(peer) is connection:
            connection.is_broken = True
            self._lose(mesh, peer, connection)
            self._tell(connection, mesh.node, peer, is_silent=False)

    # Frames

    def transmit(self, frame: Frame) -> None:
        """Take a frame from a process; what becomes of it is this network's affair."""
        connection, way = frame.connection, frame.way
        if connection.is_broken or way in connection.lost:
            return
        self.on_sent(frame)
        if self._rng.random() < self.weather.loss:
            connection.lost.add(way)
            receiver = self._meshes.get(way[1])
            if receiver is not None:
                delay_s = self._patience_s(receiver) * self._rng.random()
                self._later(delay_s, self._give_up, receiver, way[0], connection)
            return
        waiting = connection.waiting.get(way)
        if waiting or self.is_cut(way):
            connection.waiting.setdefault(way, []).append(frame)
        else:
            self._send_on(frame, self._latency())

    def _send_on(self, frame: Frame, latency_s: float) -> None:
        connection, way = frame.connection, frame.way
        arrival = max(connection.free_at.get(way, 0.0), self._loop.now + latency_s)
        connection.free_at[way] = arrival + _APART_S
        self._later(arrival - self._loop.now, self._deliver, frame)

    def _deliver(self, frame: Frame) -> None:
        if self.is_cut(frame.way) or frame.connection.waiting.get(frame.way):
            frame.connection.waiting.setdefault(frame.way, []).append(frame)
        elif (mesh := self._meshes.get(frame.way[1])) is not None:
            self._run(mesh.node, self._hand_over, mesh, frame)

    def _hand_over(self, mesh: SimMesh, frame: Frame) -> None:
        connection = frame.connection
        if mesh.node not in connection.known_at:
            connection.early.append(frame)
            return
        if mesh.links.get(frame.way[0]) is not connection:
            return  # it ended, in the eyes of the process
        self._latest.setdefault(frame.way, deque(maxlen=_REPEATED)).append(frame)
        is_encoded = frame.kind is not FrameKind.AGENT
        try:
            payload = codec.loads(frame.data) if is_encoded else frame.data
            mesh.listener.frame(frame.way[0], frame.kind, payload)
        except ValueError as error:
            self.on_refused(frame, error)

    def _latency(self) -> float:
        weather = self.weather
        latency_s = weather.latency_s + self._rng.expovariate(1 / weather.jitter_s)
        if weather.stall and self._rng.random() < weather.stall:
            latency_s += weather.stall_s * self._rng.random()
        return latency_s

    # Faults

    def is_cut(self, way: Way) -> bool:
        return self._cuts.get(way, 0) > 0

    def cut(self, way: Way) -> None:
        """Let nothing through from one node to another until `mend`; cuts add up."""
        self._cuts[way] = self._cuts.get(way, 0) + 1
        if self._cuts[way] > 1:
            return
        self._cut_since[way] = self._loop.now
        mesh = self._meshes.get(way[1])
        connection = mesh.links.get(way[0]) if mesh else None
        if mesh and connection:
            self._watch(mesh, way[0], connection)

    def _watch(self, mesh: SimMesh, peer: NodeId, connection: Connection) -> None:
        """Behind a cut: should it last, this end gives the connection up."""
        since = self._cut_since[peer, mesh.node]
        delay_s = max(0.0, since + self._patience_s(mesh) - self._loop.now)
        self._later(delay_s, self._give_up_if_cut, mesh, peer, connection, since)

    def _give_up_if_cut(
        self, mesh: SimMesh, peer: NodeId, connection: Connection, since: float
    ) -> None:
        way = (peer, mesh.node)
        if self.is_cut(way) and self._cut_since[way] == since:
            self._give_up(mesh, peer, connection)

    def mend(self, way: Way) -> None:
        """End one cut; what waited before it is sent again soon."""
        self._cuts[way] -= 1
        if self._cuts[way]:
            return
        mesh = self._meshes.get(way[1])
        connection = mesh.links.get(way[0]) if mesh else None
        if connection is None:
            return
        delay_s = _RETRANSMIT_S * self._rng.random()
        connection.free_at[way] = max(connection.free_at.get(way, 0.0), self._loop.now + delay_s)
        for frame in connection.waiting.pop(way, ()):
            self._send_on(frame, self._latency())

    def reset(self, one: NodeId, other: NodeId) -> None:
        """Break the connection of two nodes; it comes back, with what one sent last repeated."""
        self._reset.add((one, other))
        mesh = self._meshes.get(one)
        connection = mesh.links.get(other) if mesh else None
        if mesh and connection:
            self._give_up(mesh, other, connection)

    def stall(self, way: Way, seconds: float) -> None:
        """Hold back everything on one way for a while; it comes late and in order."""
        mesh = self._meshes.get(way[1])
        connection = mesh.links.get(way[0]) if mesh else None
        if connection is not None:
            connection.free_at[way] = max(
                connection.free_at.get(way, 0.0), self._loop.now + seconds
            )

    # In whose context

    def _later(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Call the network's own code after so many true seconds."""
        self._loop.after(delay_s, callback, *args)

    def _run(self, node: NodeId, callback: Callable[..., object], *args: object) -> None:
        """Call a node's code as soon as it can run."""
        self._loop.call_soon(callback, *args, context=self.contexts[node])
