from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.raft.frames import Frame, FrameKind, Hello, encode_frame, read_frame
from rbcluster.raft.limits import MAX_AGENT_BYTES, MAX_FRAME_BYTES, OUT_BUFFER_CAP_BYTES
from rbcluster.raft.profile import RaftProfile
from rbcluster.raft.proposal import Outcome
from rbcluster.raft.tls import TlsFiles, load_contexts
from rbcluster.raft.transport import Mesh
from tests.shared.certificates import tls_files
from tests.shared.local_cluster import (
    CLUSTER,
    LIMIT_S,
    PATIENT,
    Engine,
    LocalCluster,
    eventually,
    make_settings,
    running,
)

# The forger is `a`, or learner `al`, which dial; the victim `b` waits. Node `c` is never there.
# others that are certified, `l` is a learner, and `d` no member.
A, B, C, D, L = (NodeId(name) for name in ("a", "b", "c", "d", "al"))
HASTY_GREETING = replace(PATIENT, greet_timeout_s=0.5)
HASTY_LINK = replace(PATIENT, ping_s=0.1, link_timeout_s=0.5)


def hello(node: NodeId) -> Hello:
    return Hello(
        node=node,
        cluster=CLUSTER,
        incarnation=Incarnation(bytes(16)),
        is_founded=True,
        term=0,
        last_index=1,
    )


APPEND = {
    "type": "append_entries",
    "term": 5,
    "commit_index": 1,
    "prevLogIdx": 1,
    "prevLogTerm": 0,
    "entries": (),
}


@dataclass(frozen=True, slots=True)
class Forger:
    """A connection of our own making to the victim."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, sequence: int, kind: FrameKind, payload: object) -> None:
        self.writer.write(encode_frame(Frame(sequence, kind, payload)))

    async def greet(self, node: NodeId = A) -> None:
        """Greet, and wait for the answer."""
        self.send(1, FrameKind.HELLO, hello(node).to_wire())
        frame = await asyncio.wait_for(read_frame(self.reader, 1000), LIMIT_S)
        assert Hello.from_wire(frame.payload).node == B

    async def is_cut_off(self) -> bool:
        """Wait until the victim ends the connection."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while await self.reader.read(65536):
                    pass
        except ssl.SSLError:
            return True
        except ConnectionError:
            return True
        return True


class Scene:
    """A running victim, and what a forger may have got hold of."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.victim: Engine = cluster.engines[B]
        self.address = cluster.settings[B].listen

    @asynccontextmanager
    async def forger(self, files: TlsFiles | None, node: NodeId = A) -> AsyncIterator[Forger]:
        """Connect with a certificate, or without TLS."""
        context = None if files is None else load_contexts(files, node).client
        if context is not None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(*self.address, ssl=context)
        try:
            yield Forger(reader, writer)
        finally:
            writer.transport.abort()

    def member(self) -> TlsFiles:
        return self.files[A]

    files: dict[NodeId, TlsFiles]


@pytest.fixture
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    profile: RaftProfile = getattr(request, "param", PATIENT)
    everyone = make_settings(tmp_path, "abcd", learners=[L.name], profile=profile)
    victim = everyone[B]
    peers = {node: victim.peers[node] for node in (A, C)}
    cluster = LocalCluster({B: replace(victim, peers=peers, learners={L: everyone[L].listen})})
    async with running(cluster):
        scene = Scene(cluster)
        scene.files = {node: each.tls for node, each in everyone.items()}
        yield scene


async def test_a_certificate_of_a_foreign_authority_is_cut_off_and_logged_once(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = tls_files(tmp_path / "foreign", [A])[A]
    for _ in range(3):
        async with scene.forger(foreign) as forger:
            assert await forger.is_cut_off()
    lines = [r for r in caplog.records if "certificate does not hold" in r.getMessage()]
    assert len([r for r in lines if r.levelname == "WARNING"]) == 1
    assert scene.victim.view.connected == frozenset()
    assert scene.victim.failure is None


@pytest.mark.parametrize(("certificate", "claims"), [(D, D), (D, A), (A, C), (A, B)], ids=str)
async def test_a_member_can_only_be_itself(
    scene: Scene, certificate: NodeId, claims: NodeId
) -> None:
    async with scene.forger(scene.files[certificate], certificate) as forger:
        forger.send(1, FrameKind.HELLO, hello(claims).to_wire())
        assert await forger.is_cut_off()
    assert scene.victim.view.connected == frozenset()


async def test_a_node_of_another_cluster_is_cut_off(scene: Scene) -> None:
    async with scene.forger(scene.member()) as forger:
        foreign = replace(hello(A), cluster=ClusterId(b"r" * 16))
        forger.send(1, FrameKind.HELLO, foreign.to_wire())
        assert await forger.is_cut_off()


async def test_a_peer_that_this_node_dials_can_not_dial_it(scene: Scene) -> None:
    async with scene.forger(scene.files[C], C) as forger:
        forger.send(1, FrameKind.HELLO, hello(C).to_wire())
        assert await forger.is_cut_off()


@pytest.mark.parametrize("scene", [HASTY_GREETING], indirect=True, ids=["hasty"])
@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(5000)])
async def test_a_stranger_without_tls_is_cut_off(scene: Scene, data: bytes) -> None:
    async with scene.forger(None) as forger:
        forger.writer.write(data)
        assert await forger.is_cut_off()


@pytest.mark.parametrize("scene", [HASTY_GREETING], indirect=True, ids=["hasty"])
async def test_a_member_that_does_not_greet_is_cut_off(scene: Scene) -> None:
    async with scene.forger(scene.member()) as forger:
        assert await forger.is_cut_off()


@pytest.mark.parametrize("scene", [HASTY_LINK], indirect=True, ids=["hasty"])
async def test_a_member_that_falls_silent_is_cut_off(scene: Scene) -> None:
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        assert await forger.is_cut_off()
        await eventually(lambda: not scene.victim.view.connected, "the link is down")


@pytest.mark.parametrize(
    "message",
    [
        {**APPEND, "entries": ((b"\x02membership", 2, 5),)},
        {**APPEND, "entries": ((b"\x03version", 2, 5),)},
        {**APPEND, "term": 10**30},
        {"type": "apply_command", "command": b"\x02membership", "request_id": 1},
        {"type": "apply_command", "command": b"\x00", "request_id": 1},
        {"type": "add", "node": "evil"},
        "text",
    ],
)
async def test_a_forged_message_ends_the_link_and_changes_nothing(
    scene: Scene, message: object
) -> None:
    before = scene.victim.view
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        if not isinstance(message, dict) or message.get("term") != 10**30:
            forger.send(2, FrameKind.RAFT, message)
        else:
            forger.send(2, FrameKind.RAFT, {**message, "term": 2**63})
        assert await forger.is_cut_off()
    await eventually(lambda: scene.victim.view == before, "all is as before")
    assert scene.victim.failure is None


@pytest.mark.parametrize(
    "message",
    [
        APPEND,
        {"type": "request_vote", "term": 5, "last_log_index": 9, "last_log_term": 5},
        {"type": "response_vote", "term": 1},
        {"type": "timeout_now", "term": 1},
    ],
    ids=lambda message: message["type"],
)
async def test_a_learner_that_acts_as_a_voter_is_passed_over(
    scene: Scene, message: dict[str, object]
) -> None:
    async with scene.forger(scene.files[L], L) as forger:
        await forger.greet(L)
        await eventually(lambda: scene.victim.view.connected == {L}, "the link is up")
        before = scene.victim.view
        forger.send(2, FrameKind.RAFT, message)
        forger.send(3, FrameKind.AGENT, b"later")
        await eventually(lambda: bool(scene.cluster.messages), "what came later is heard")
        assert scene.victim.view == before


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\0\0\0\x01\xc1",
        encode_frame(Frame(2, FrameKind.HELLO, hello(A).to_wire())),
    ],
    ids=["too long", "no msgpack", "second greeting"],
)
async def test_bytes_that_are_no_frame_end_the_link(scene: Scene, data: bytes) -> None:
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        forger.writer.write(data)
        assert await forger.is_cut_off()


async def test_late_and_duplicate_frames_are_dropped(scene: Scene) -> None:
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        for sequence in (2, 2, 1, 4, 3, 5):
            forger.send(sequence, FrameKind.AGENT, b"%d" % sequence)
        await eventually(lambda: len(scene.cluster.messages) >= 3, "three arrive")
    assert [payload for _, _, payload in scene.cluster.messages] == [b"2", b"4", b"5"]


async def test_a_second_connection_of_a_peer_replaces_the_first(scene: Scene) -> None:
    async with scene.forger(scene.member()) as first, scene.forger(scene.member()) as second:
        await first.greet()
        await second.greet()
        assert await first.is_cut_off()
        second.send(2, FrameKind.AGENT, b"from the second")
        await eventually(lambda: bool(scene.cluster.messages), "the second is heard")
        assert scene.victim.view.connected == {A}


async def test_a_peer_that_does_not_read_is_cut_off_before_it_costs_much_memory(
    scene: Scene,
) -> None:
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        await eventually(lambda: scene.victim.view.connected == {A}, "the link is up")
        num_queued = 0
        payload = bytes(MAX_AGENT_BYTES)
        mesh = scene.victim._mesh
        assert isinstance(mesh, Mesh)
        link = mesh._links[A]
        while link.send(FrameKind.AGENT, payload):
            num_queued += 1
            assert num_queued * MAX_AGENT_BYTES < 2 * OUT_BUFFER_CAP_BYTES
        await eventually(lambda: not scene.victim.view.connected, "the link is down")


async def test_a_link_is_not_up_again_before_an_append_period_has_passed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    changes: list[tuple[str, float]] = []
    for name in ("link_up", "link_down"):
        take = getattr(scene.victim._receiver, name)

        def note(*told: object, name: str = name, take: Callable[..., None] = take) -> None:
            changes.append((name, loop.time()))
            take(*told)

        monkeypatch.setattr(scene.victim._receiver, name, note)
    for _ in range(3):
        async with scene.forger(scene.member()) as forger:
            await forger.greet()
    await eventually(lambda: len(changes) == 6, "three links came and went")
    assert [name for name, _ in changes] == ["link_up", "link_down"] * 3
    pauses = [up - down for (_, down), (_, up) in zip(changes[1:-1:2], changes[2::2], strict=True)]
    assert min(pauses) > 0.9 * PATIENT.append_s  # a loop's timers are a little early


async def test_a_forged_leader_of_the_right_form_is_only_as_strong_as_raft_lets_it(
    scene: Scene,
) -> None:
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        forger.send(2, FrameKind.RAFT, {**APPEND, "commit_index": 2**40})
        await eventually(lambda: scene.victim.view.term == 5, "the term is taken")
        assert scene.victim.view.commit_index == 1
        assert scene.victim.state == ()


async def test_a_leader_that_never_answers_leaves_the_outcome_open(scene: Scene) -> None:
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        forger.send(2, FrameKind.RAFT, APPEND)
        await eventually(lambda: scene.victim.view.leader == A, "the forger is followed")
        async with asyncio.timeout(LIMIT_S):
            result = await scene.victim.propose(b"one", 0.1)
        assert (result.outcome, result.detail) == (Outcome.UNKNOWN, "no outcome within 0.1 s")


async def test_a_command_is_not_queued_by_a_node_that_does_not_lead(scene: Scene) -> None:
    """Should the node be elected meanwhile, it would enter the log unchecked."""
    async with scene.forger(scene.member()) as forger:
        await forger.greet()
        command = {"type": "apply_command", "command": b"\x00forged", "request_id": 7}
        forger.send(2, FrameKind.RAFT, command)
        async with asyncio.timeout(LIMIT_S):
            while True:
                answer = (await read_frame(forger.reader, MAX_FRAME_BYTES)).payload
                if isinstance(answer, dict) and answer["type"] == "apply_command_response":
                    break
    assert answer["request_id"] == 7
    assert answer["reason"] == "the node that was asked does not lead"
