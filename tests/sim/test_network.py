"""The network keeps TCP's promises, and breaks only what it is told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.raft.frames import FrameKind, Hello
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.profile import WAN
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.tls import TlsFiles
from tests.sim.links import SimMesh, Way
from tests.sim.loop import Host, SimLoop
from tests.sim.network import Network, Weather

A, B = NodeId("a"), NodeId("b")
CLUSTER = ClusterId(bytes(16))


class Listener:
    """An engine that writes down what its mesh tells it."""

    def __init__(self, node: NodeId) -> None:
        self.heard: list[object] = []
        self.hello = Hello(
            node=node,
            cluster=CLUSTER,
            incarnation=Incarnation(bytes(16)),
            is_founded=True,
            term=0,
            last_index=1,
        )
        self.on_up: Callable[[], object] = lambda: None

    def greeting(self) -> Hello:
        return self.hello

    def link_up(self, peer: NodeId, hello: Hello) -> None:
        assert hello.node == peer
        self.heard.append(f"{peer} up")
        self.on_up()

    def link_down(self, peer: NodeId) -> None:
        self.heard.append(f"{peer} down")

    def link_full(self, peer: NodeId) -> None:
        raise AssertionError(peer)

    def link_drained(self, peer: NodeId) -> None:
        raise AssertionError(peer)

    def turned_away(self, why: TurnedAway) -> None:
        raise AssertionError(why)

    def frame(self, peer: NodeId, kind: FrameKind, payload: object) -> None:
        assert (peer in (A, B), kind) == (True, FrameKind.AGENT)
        self.heard.append(payload)


class Pair:
    """Two meshes; a sends, b listens."""

    def __init__(self, loop: SimLoop) -> None:
        contexts = {node: Host(node).context() for node in (A, B)}
        self.network = Network(loop, random.Random(7), contexts)
        self.network.weather = Weather(latency_s=0.01, jitter_s=0.05)
        self.listener = Listener(B)
        self.a = self._mesh(A, B, Listener(A))
        self.b = self._mesh(B, A, self.listener)

    def _mesh(self, node: NodeId, peer: NodeId, listener: Listener) -> SimMesh:
        settings = RaftSettings(
            cluster=CLUSTER,
            node=node,
            listen=(node.name, 1),
            peers={peer: (peer.name, 1)},
            data_dir=Path("unused"),
            tls=TlsFiles(ca=Path("unused"), cert=Path("unused"), key=Path("unused")),
            profile=WAN,
        )
        mesh = self.network.make_mesh(settings, listener)
        mesh.set_peers({peer: (peer.name, 1)} if node < peer else {}, frozenset({peer}))
        return mesh

    async def connect(self) -> None:
        for mesh in (self.b, self.a):
            await mesh.start()
        await asyncio.sleep(5.0)
        assert self.heard == ["a up"]

    @property
    def heard(self) -> list[object]:
        return self.listener.heard

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            assert self.a.send(B, FrameKind.AGENT, payload)


def play(scene: Callable[[Pair], Awaitable[None]]) -> None:
    async def live() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        pair = Pair(loop)
        await pair.connect()
        await scene(pair)

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(live())


@contextmanager
def cut(pair: Pair, *ways: Way) -> Iterator[None]:
    for way in ways:
        pair.network.cut(way)
    yield
    for way in ways:
        pair.network.mend(way)


def test_frames_arrive_once_and_in_order() -> None:
    async def scene(pair: Pair) -> None:
        frames = [b"%d" % n for n in range(100)]
        pair.send(*frames)
        await asyncio.sleep(10.0)
        assert pair.heard == ["a up", *frames]

    play(scene)


def test_what_is_sent_into_a_short_cut_comes_late() -> None:
    async def scene(pair: Pair) -> None:
        with cut(pair, (A, B)):
            pair.send(b"1", b"2")
            await asyncio.sleep(2.0)
            assert pair.heard == ["a up"]
        pair.send(b"3")
        await asyncio.sleep(2.0)
        assert pair.heard == ["a up", b"1", b"2", b"3"]

    play(scene)


@pytest.mark.parametrize("ways", [[(A, B)], [(B, A)], [(A, B), (B, A)]])
def test_a_long_cut_ends_the_link_and_what_was_on_its_way(
    ways: list[tuple[NodeId, NodeId]],
) -> None:
    async def scene(pair: Pair) -> None:
        with cut(pair, *ways):
            if (A, B) in ways:
                pair.send(b"lost")
            await asyncio.sleep(20.0)
            assert pair.heard == ["a up", "a down"]
            assert not pair.a.connected
        await asyncio.sleep(20.0)
        pair.send(b"new")
        await asyncio.sleep(2.0)
        assert pair.heard == ["a up", "a down", "a up", b"new"]

    play(scene)


def test_what_a_process_sent_before_it_was_killed_arrives() -> None:
    async def scene(pair: Pair) -> None:
        pair.send(b"last words")
        pair.network.close(pair.a)
        await asyncio.sleep(2.0)
        assert pair.heard == ["a up", b"last words", "a down"]

    play(scene)


def test_a_reset_link_comes_back_and_repeats_what_came_last() -> None:
    async def scene(pair: Pair) -> None:
        pair.send(b"1")
        await asyncio.sleep(1.0)
        pair.network.reset(A, B)
        await asyncio.sleep(10.0)
        assert pair.heard == ["a up", b"1", "a down", "a up", b"1"]

    play(scene)


def test_a_lost_frame_breaks_the_link() -> None:
    async def scene(pair: Pair) -> None:
        pair.network.weather = Weather(loss=1.0)
        pair.send(b"1", b"2")
        pair.network.weather = Weather()
        await asyncio.sleep(20.0)
        assert pair.heard == ["a up", "a down", "a up"]

    play(scene)


def test_a_peer_that_is_not_welcome_any_more_is_cut_off() -> None:
    async def scene(pair: Pair) -> None:
        pair.b.set_peers({}, frozenset())
        await asyncio.sleep(20.0)
        assert pair.heard == ["a up", "a down"]
        assert not pair.a.connected

    play(scene)


def test_a_peer_that_is_not_to_be_dialled_any_more_is_hung_up_on() -> None:
    async def scene(pair: Pair) -> None:
        pair.a.set_peers({}, frozenset({B}))
        await asyncio.sleep(20.0)
        assert pair.heard == ["a up", "a down"]
        assert not pair.a.connected

    play(scene)


def test_a_peer_that_lost_its_disk_repeats_nothing() -> None:
    async def scene(pair: Pair) -> None:
        pair.send(b"1")
        await asyncio.sleep(1.0)
        listener = pair.a.listener
        assert isinstance(listener, Listener)
        listener.hello = replace(listener.hello, incarnation=Incarnation(bytes([1]) * 16))
        pair.network.reset(A, B)
        await asyncio.sleep(10.0)
        assert pair.heard == ["a up", b"1", "a down", "a up"]

    play(scene)


def test_what_is_sent_as_soon_as_a_link_is_up_arrives() -> None:
    """The other end may not have it up yet."""

    async def scene(pair: Pair) -> None:
        dialler = pair.a.listener
        assert isinstance(dialler, Listener)
        pair.listener.on_up = lambda: pair.b.send(A, FrameKind.AGENT, b"at once")
        for _ in range(20):
            dialler.heard.clear()
            pair.network.reset(A, B)
            await asyncio.sleep(10.0)
            assert dialler.heard[:3] == ["b down", "b up", b"at once"]

    play(scene)
