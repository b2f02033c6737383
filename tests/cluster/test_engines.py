from __future__ import annotations

import asyncio
import errno
import os
import pickle
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from pysyncobj.monotonic import monotonic

from rbcluster.core.ids import NodeId
from rbcluster.errors import NotLeader, RaftError
from rbcluster.raft.disk import DiskFile, PosixDisk, PosixFile
from rbcluster.raft.engine import admit_all
from rbcluster.raft.limits import MAX_AGENT_BYTES, MAX_COMMAND_BYTES
from rbcluster.raft.proposal import Outcome
from rbcluster.raft.transport import Mesh
from rbcluster.raft.view import Role
from tests.shared.local_cluster import (
    LIMIT_S,
    PATIENT,
    LocalCluster,
    commit,
    compacting,
    eventually,
    make_settings,
    running,
)

A, B, L = NodeId("a"), NodeId("b"), NodeId("l")


async def test_three_nodes_elect_a_leader_by_themselves(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc"))) as cluster:
        leader = await cluster.leader()
        assert leader.view.term > 0


async def test_a_leader_commits_through_every_node(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        assert leader.view.connected == set(cluster.settings) - {leader.view.leader}
        assert leader.view.voters == tuple(sorted(cluster.settings))
        for number, engine in enumerate(cluster.engines.values(), start=1):
            assert (await commit(engine, b"%d" % number)).verdict == number
        await cluster.agree(b"1", b"2", b"3")
        assert all(engine.view.has_quorum for engine in cluster.engines.values())


async def test_a_single_node_commits_and_has_its_state_back_after_a_restart(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "a"))) as cluster:
        for number in range(1, 6):
            assert (await commit(await cluster.leader(), b"%d" % number)).verdict == number
        await cluster.stop(A)
        await cluster.start(A)
        assert (await commit(await cluster.leader(), b"6")).verdict == 6


async def test_the_leader_may_refuse_a_command_and_its_proposer_learns_why(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader, follower = await cluster.elect(A), cluster.engines[B]
        asked: list[tuple[NodeId, bytes]] = []

        def admit(sender: NodeId, command: bytes) -> str | None:
            asked.append((sender, command))
            return f"not from {sender}"

        cluster.admit = admit
        for engine in (leader, follower):
            result = await engine.propose(b"one", LIMIT_S)
            assert (result.outcome, result.detail) == (Outcome.REFUSED, f"not from {asked[-1][0]}")
        assert [command for _, command in asked] == [b"one", b"one"]
        assert asked[0][0] == leader.view.leader != asked[1][0]
        cluster.admit = admit_all
        assert (await commit(follower, b"two")).verdict == 1


@pytest.mark.parametrize("command", [b"", bytes(MAX_COMMAND_BYTES + 1)], ids=["empty", "too long"])
async def test_a_command_that_no_log_can_hold_is_refused(tmp_path: Path, command: bytes) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "a"))) as cluster:
        result = await (await cluster.leader()).propose(command, LIMIT_S)
        assert result.outcome is Outcome.REFUSED
        assert "a command has 1 to 262144 bytes" in result.detail


async def test_commands_of_the_greatest_length_are_committed_everywhere(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        commands = [bytes([i]) * (MAX_COMMAND_BYTES - i) for i in range(4)]
        await asyncio.gather(*(commit(leader, command) for command in commands))
        await cluster.agree(*commands)


async def test_without_a_majority_nothing_is_committed_and_nothing_claimed(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc"))) as cluster:
        leader = await cluster.leader()
        for follower in await cluster.followers():
            await cluster.stop(follower._settings.node)
        assert (await leader.propose(b"one", 0.05)).outcome is not Outcome.COMMITTED
        await eventually(lambda: leader.view.role is not Role.LEADER, "the leader steps down")
        assert not leader.view.has_quorum
        assert leader.view.leader is None
        result = await leader.propose(b"two", LIMIT_S)
        assert (result.outcome, result.detail) == (Outcome.NOT_TAKEN, "no leader is known")
        assert leader.state == ()


async def test_a_command_that_raises_stops_nobody(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        assert (await commit(cluster.engines[B], b"poison")).verdict is None
        assert (await commit(leader, b"one")).verdict == 1
        await cluster.agree(b"one")


async def test_a_reconnecting_follower_does_not_unseat_the_leader(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader, follower = await cluster.elect(A), cluster.engines[B]
        term, mesh = leader.view.term, follower._mesh
        assert isinstance(mesh, Mesh)
        num_cuts = 0

        def let_patience_end() -> None:
            nonlocal num_cuts
            replica = follower._replica
            if not follower.view.connected and replica is not None:
                num_cuts += 1
                replica._SyncObj__raftElectionDeadline = monotonic()

        follower.subscribe(let_patience_end)  # the moment without links may be short
        for number in range(1, 6):
            for link in mesh._links.values():
                link.abort()
            await eventually(lambda number=number: num_cuts >= number, "it is cut off")  # type: ignore[misc]
            await eventually(lambda: len(follower.view.connected) == 2, "it is back")
            await eventually(lambda: follower.view.leader is not None, "it hears a leader")
            await commit(follower, b"%d" % number)
        assert leader.view.term == term
        assert leader.view.role is Role.LEADER


async def test_an_emptied_follower_gets_a_large_snapshot_and_what_follows(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "abc", profile=compacting(20))
    async with running(LocalCluster(settings)) as cluster:
        leader = await cluster.elect(A)
        await cluster.stop(B)
        shutil.rmtree(settings[B].data_dir)
        commands = [b"%03d" % i + bytes(100_000) for i in range(50)]
        for command in commands:
            await commit(leader, command)
        assert (settings[A].data_dir / "snapshot").stat().st_size > 2_000_000
        await cluster.start(B)
        await cluster.agree(*commands)
        assert (await commit(cluster.engines[B], b"last")).verdict == 51


async def test_no_pickle_in_commits_snapshots_transfers_and_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "_dump", "_dumps", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, forbidden)
    monkeypatch.setattr(pickle, "Pickler", forbidden)
    monkeypatch.setattr(pickle, "Unpickler", forbidden)
    settings = make_settings(tmp_path, "abc", profile=compacting(10))
    async with running(LocalCluster(settings)) as cluster:
        commands = [b"%d" % i for i in range(30)]
        leader = await cluster.elect(A)
        for command in commands:
            await commit(leader, command)
        await cluster.agree(*commands)
        for node in settings:
            await cluster.stop(node)
        assert all((each.data_dir / "snapshot").exists() for each in settings.values())
        shutil.rmtree(settings[B].data_dir)
        for node in settings:
            await cluster.start(node)
        await cluster.elect(A)
        await cluster.agree(*commands)


async def test_a_learner_follows_and_proposes_but_is_not_counted(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "ab", learners="l", profile=PATIENT)
    async with running(LocalCluster(settings)) as cluster:
        leader = await cluster.elect(A)
        learner = cluster.engines[L]
        assert learner.view.role is Role.LEARNER
        assert learner.view.voters == leader.view.voters == (A, B)
        assert (await commit(learner, b"one")).verdict == 1
        await cluster.agree(b"one")
        await cluster.stop(B)
        assert (await leader.propose(b"two", 0.2)).outcome is Outcome.UNKNOWN


async def test_an_emptied_learner_gets_a_snapshot(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "a", learners="l", profile=compacting(10))
    async with running(LocalCluster(settings)) as cluster:
        await cluster.elect(A)
        await cluster.stop(L)
        commands = [b"%d" % i for i in range(30)]
        for command in commands:
            await commit(cluster.engines[A], command)
        await cluster.start(L)
        await cluster.agree(*commands)


@pytest.mark.parametrize("is_named", [True, False])
async def test_the_leadership_is_handed_over_while_commands_arrive(
    tmp_path: Path, is_named: bool
) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        old = await cluster.elect(B)
        busy = [asyncio.create_task(old.propose(b"%d" % i, LIMIT_S)) for i in range(50)]
        await asyncio.sleep(0)
        await old.transfer(A if is_named else None, LIMIT_S)
        new = await cluster.leader()
        assert new is not old
        assert not is_named or new is cluster.engines[A]
        outcomes = [result.outcome for result in await asyncio.gather(*busy)]
        assert (await commit(old, b"last")).verdict == outcomes.count(Outcome.COMMITTED) + 1


async def test_only_a_leader_can_hand_over_and_only_to_a_voter(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        with pytest.raises(NotLeader, match="b does not lead"):
            await cluster.engines[B].transfer(None, LIMIT_S)
        for target in (NodeId("stranger"), leader._settings.node):
            with pytest.raises(RaftError, match="can't take the leadership"):
                await leader.transfer(target, LIMIT_S)


async def test_a_transfer_to_a_dead_node_gives_up_in_time_and_writes_go_on(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        await cluster.stop(B)
        await commit(leader, b"one")
        with pytest.raises(RaftError, match=r"b did not take the leadership within 0\.3 s"):
            await leader.transfer(B, 0.3)
        assert (await commit(leader, b"two")).verdict == 2


async def test_what_comes_while_the_leadership_is_handed_over_may_be_asked_again(
    tmp_path: Path,
) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        await cluster.stop(B)
        transfer = asyncio.create_task(leader.transfer(B, LIMIT_S))
        await asyncio.sleep(0)
        for engine in (leader, cluster.engines[NodeId("c")]):
            result = await engine.propose(b"one", LIMIT_S)
            assert result.outcome is Outcome.NOT_TAKEN
            assert "the leadership is being handed over" in result.detail
        transfer.cancel()


async def test_agents_messages_reach_every_other_node(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        leader.broadcast(bytes(MAX_AGENT_BYTES))
        await eventually(lambda: len(cluster.messages) == 2, "both got it")
        sender = leader._settings.node
        assert {to for to, _, _ in cluster.messages} == set(cluster.settings) - {sender}
        assert {(s, len(p)) for _, s, p in cluster.messages} == {(sender, MAX_AGENT_BYTES)}
        with pytest.raises(ValueError, match="at most 65536 bytes"):
            leader.broadcast(bytes(MAX_AGENT_BYTES + 1))


async def test_subscribers_hear_of_changes_until_they_leave(tmp_path: Path) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "a"))) as cluster:
        leader = await cluster.leader()
        seen: list[int] = []
        unsubscribe = leader.subscribe(lambda: seen.append(len(leader.state)))
        await commit(leader, b"one")
        unsubscribe()
        await commit(leader, b"two")
        assert 1 in seen
        assert 2 not in seen


async def test_neither_agents_messages_nor_a_leaders_heartbeats_enter_the_journal(
    tmp_path: Path,
) -> None:
    async with running(LocalCluster(make_settings(tmp_path, "abc", profile=PATIENT))) as cluster:
        leader = await cluster.elect(A)
        await commit(leader, b"one")
        await cluster.agree(b"one")

        def sizes() -> list[int]:
            storages = [engine._storage for engine in cluster.engines.values()]
            return [storage.journal.size_bytes for storage in storages if storage]

        before = sizes()
        for _ in range(20):
            for engine in cluster.engines.values():
                engine.broadcast(bytes(1000))
            await asyncio.sleep(PATIENT.append_s / 4)
        await eventually(lambda: len(cluster.messages) == 20 * 6, "all arrived")
        assert sizes() == before


class FaultyDisk(PosixDisk):
    """The machine's disk, until it has a fault."""

    def __init__(self) -> None:
        self.fault: int | None = None

    def open(self, path: Path) -> DiskFile:
        return FaultyFile(path, self)


class FaultyFile(PosixFile):
    def __init__(self, path: Path, disk: FaultyDisk) -> None:
        super().__init__(path, os.O_WRONLY)
        self._disk = disk

    def write_at(self, data: bytes, position: int) -> None:
        if self._disk.fault is not None:
            raise OSError(self._disk.fault, os.strerror(self._disk.fault))
        super().write_at(data, position)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (errno.ENOSPC, "(No space left on device): free space on that disk, then start"),
        (errno.EIO, "(Input/output error): the disk fails: put the data directory on a sound one"),
    ],
)
async def test_a_leader_whose_disk_fails_hands_over_and_stops_for_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: int, words: str
) -> None:
    disk = FaultyDisk()
    settings = make_settings(tmp_path, "abc", profile=PATIENT)
    settings[A] = replace(settings[A], disk=disk)
    async with running(LocalCluster(settings)) as cluster:
        leader = await cluster.elect(A)
        await commit(leader, b"one")
        await cluster.agree(b"one")
        disk.fault = fault
        result = await leader.propose(b"lost", LIMIT_S)
        failed_at = monotonic()
        assert result.outcome is Outcome.UNKNOWN
        assert f"{settings[A].data_dir}/journal can't be written {words}" in str(leader.failure)
        assert leader.view.role is not Role.LEADER
        assert (await leader.propose(b"one", LIMIT_S)).outcome is Outcome.NOT_TAKEN
        await cluster.stop(A)
        await commit(await cluster.leader(), b"two")
        assert monotonic() - failed_at < PATIENT.election_min_s  # nobody waited for a time-out
        await cluster.agree(b"one", b"two")
        disk.fault = None  # space was freed
        await cluster.start(A)
        await cluster.agree(b"one", b"two")
    (said,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert str(settings[A].data_dir / "journal") in said.getMessage()
    assert said.exc_info is None
    assert "is asked to take the leadership over" in caplog.text


async def test_a_follower_whose_disk_fails_stops_and_the_others_go_on(tmp_path: Path) -> None:
    disk = FaultyDisk()
    settings = make_settings(tmp_path, "abc", profile=PATIENT)
    settings[B] = replace(settings[B], disk=disk)
    async with running(LocalCluster(settings)) as cluster:
        leader = await cluster.elect(A)
        disk.fault = errno.EIO
        await commit(leader, b"one")
        await eventually(lambda: cluster.engines[B].failure is not None, "it stops")
        assert cluster.engines[B].state == ()
        await commit(leader, b"two")


async def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = make_settings(tmp_path, "a")
        cluster = LocalCluster({A: replace(settings[A], listen=taken.getsockname())})
        with pytest.raises(RaftError, match=r"can't listen on 127\.0\.0\.1:\d+ \(Address already"):
            await cluster.start(A)
    async with running(LocalCluster(settings)) as again:  # nothing was left open
        await again.leader()
