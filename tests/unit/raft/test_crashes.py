"""A storage stopped, cut off from power or failed by its disk at every single call it makes."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.disk import Disk
from rbcluster.raft.journal import Journal
from rbcluster.raft.log_content import Entry
from rbcluster.raft.machine import MachineState
from rbcluster.raft.snapshot import SnapshotStore
from rbcluster.raft.storage import Storage, StoragePlace, open_storage
from tests.shared.ledger import LEDGER, Ledger
from tests.shared.model_disk import ModelDisk, Stopped

CLUSTER = ClusterId(bytes(16))
POWER_LOSSES = 3  # tried at each call

Promise = tuple[int, str | None, Ledger]
"""What a node may have told others of: term, vote, and every command in its log or snapshot."""


class Node:
    """A storage as PySyncObj uses it, and what it has promised."""

    def __init__(self, directory: Path, disk: Disk, *, index: int = 0) -> None:
        self.machine = MachineState(LEDGER)
        place = StoragePlace(directory=directory, cluster=CLUSTER, node=NodeId("a"), disk=disk)
        self.storage: Storage[Ledger, int] = open_storage(place, self.machine)
        if self.storage.snapshots.head is not None:
            self.storage.snapshots.deserialize()
        self.promised = self.wanted = self.held()
        self.index = index

    @property
    def journal(self) -> Journal:
        return self.storage.journal

    def held(self) -> Promise:
        """What the storage says: the snapshot's commands, and those of the entries after it."""
        head = self.storage.snapshots.head
        covered = head[1][1] if head else 0
        tail = tuple(command[1:] for command, index, _ in self.journal[:] if index > covered)
        journal = self.journal
        return journal.getCurrentTerm(), journal.getVotedForNodeId(), self.machine.current + tail

    def promise(self) -> None:
        self.wanted = self.held()
        self.journal.flush()
        self.promised = self.wanted

    def vote(self, term: int, node: str | None) -> None:
        self.journal.setCurrentTerm(term, node)
        self.promise()

    def append(self, *commands: bytes) -> None:
        for command in commands:
            self.index += 1
            self.journal.add(b"\0" + command, self.index, 1)
        self.promise()

    def compact(self) -> None:
        """Apply all, write a snapshot, and trim the journal."""
        covered = self.storage.snapshots.head[1][1] if self.storage.snapshots.head else 0
        for command, index, _ in self.journal[:]:
            if index > covered:
                self.machine.apply(command[1:])
        first, last = self.journal[-2:]
        self.storage.snapshots.serialize((None, last, first, [PeerNode("a")]), first[1])
        self.journal.deleteEntriesTo(len(self.journal) - 2)

    def install(self, leader: SnapshotStore[Ledger, int], commands: Ledger) -> None:
        """Take a leader's snapshot in place of everything."""
        term, vote, _ = self.held()
        self.wanted = term, vote, commands
        while chunk := leader.getTransmissionData(PeerNode("a")):
            self.storage.snapshots.setTransmissionData(chunk)
            if chunk[2]:
                break
        _, last, previous, _ = self.storage.snapshots.deserialize()
        self.journal.clear()
        for entry in (previous, last):
            self.journal.add(*entry)
        self.index = last[1]
        self.promise()


def leaders_snapshot(directory: Path) -> tuple[SnapshotStore[Ledger, int], Ledger]:
    machine = MachineState(LEDGER)
    commands = tuple(b"of the leader %d" % number for number in range(30))
    for command in commands:
        machine.apply(command)
    store = SnapshotStore(directory / "snapshot", machine, CLUSTER, disk=ModelDisk())
    head: tuple[Entry, Entry] = ((b"\0" + commands[-2], 29, 1), (b"\0" + commands[-1], 30, 1))
    store.serialize((None, head[1], head[0], [PeerNode("a")]), 29)
    return store, commands


def live(node: Node, directory: Path) -> None:
    """A life with everything a storage does in it."""
    node.vote(1, "a")
    node.append(b"one")
    node.append(b"two", b"three", bytes([7]) * 3000)
    node.vote(2, None)
    node.vote(2, "b")
    node.compact()
    node.append(b"four")
    node.install(*leaders_snapshot(directory))
    node.append(bytes([9]) * 250_000)  # the file must grow
    node.append(b"five")
    node.compact()
    node.vote(3, "c")


def check(node: Node, before: Node | None, directory: Path) -> None:
    """Nothing promised is lost, nothing is there that was never said, and it can go on."""
    if before is not None:
        assert node.held() in (before.promised, before.wanted)
        assert node.storage.owner == before.storage.owner
    node.index = node.journal[-1][1] if len(node.journal) else 0
    node.append(b"after it")
    node.storage.close()
    disk = node.storage.snapshots._disk
    again = Node(directory, disk)
    assert again.held() == node.promised
    again.storage.close()


def stopped_at(directory: Path, call: int, disk: ModelDisk) -> Node | None:
    """Live until the call; None if it comes before there was a node."""

    def stop(number: int, _call: str) -> None:
        if number == call:
            raise Stopped

    disk.at_call = stop
    node = None
    try:
        node = Node(directory, disk)
        live(node, directory)
    except Stopped:
        pass
    else:
        raise IndexError(call)
    finally:
        if node is not None:
            os.close(node.storage.lock)
    return node


def every_call(directory: Path, *, tear: bool) -> Iterator[tuple[Node | None, ModelDisk]]:
    for call in itertools.count(1):
        disk = ModelDisk()
        disk.tear = Random(call) if tear else None
        try:
            yield stopped_at(directory, call, disk), disk
        except IndexError:
            assert call > 50  # it was a full life
            return


@pytest.mark.parametrize("tear", [False, True])
def test_kill_at_any_call_loses_nothing_promised(tmp_path: Path, tear: bool) -> None:
    for node, disk in every_call(tmp_path, tear=tear):
        check(Node(tmp_path, disk.after_kill()), node, tmp_path)


def test_power_loss_at_any_call_loses_nothing_promised(tmp_path: Path) -> None:
    for node, disk in every_call(tmp_path, tear=True):
        for seed in range(POWER_LOSSES):
            check(Node(tmp_path, disk.after_power_loss(Random(seed))), node, tmp_path)


def test_power_loss_after_a_kill_loses_nothing_that_was_read_and_promised_since(
    tmp_path: Path,
) -> None:
    for node, disk in every_call(tmp_path, tear=True):
        second = disk.after_kill()
        reborn = Node(tmp_path, second)
        reborn.storage.close()
        again = Node(tmp_path, second.after_power_loss(Random(1)))
        assert again.held() == reborn.held()
        check(again, node, tmp_path)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free space on that disk"), (errno.EIO, "`rbcluster reset-node`")],
)
def test_fault_at_any_call_is_named_stops_the_node_and_loses_nothing_promised(
    tmp_path: Path, code: int, remedy: str
) -> None:
    for call in itertools.count(1):
        disk = ModelDisk()

        def fail(number: int, _call: str, call: int = call) -> None:
            if number >= call:  # a full disk stays full
                raise OSError(code, os.strerror(code))

        disk.at_call = fail
        node = None
        try:
            node = Node(tmp_path, disk)
            live(node, tmp_path)
        except StorageError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017 - of every call, not of one
            assert os.strerror(code) in str(error)  # noqa: PT017
            assert remedy in str(error)  # noqa: PT017
        else:
            assert call > 50
            return
        if node is not None:
            node.journal.setCurrentTerm(99, "z")
            if node.journal._failure is not None:
                with pytest.raises(StorageError):
                    node.journal.flush()
            os.close(node.storage.lock)
        second = disk.after_kill()  # its cache may hold what the failed sync never wrote
        reborn = Node(tmp_path, second)
        reborn.storage.close()
        again = Node(tmp_path, second.after_power_loss(Random(call)))
        assert again.held() == reborn.held()
        check(again, node, tmp_path)
