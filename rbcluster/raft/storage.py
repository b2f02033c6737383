"""The data directory of one node: a lock, the snapshot and the journal, opened together.

::

    raft/node       the node's name; locked while the engine runs
    raft/snapshot   `snapshot.py`
    raft/journal    `journal.py`

A directory that was used before and lacks its journal is refused: with it a node would forget its
vote, and could give a second one in the same term.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rbcluster.core.ids import NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.journal import Journal
from rbcluster.raft.machine import MachineState
from rbcluster.raft.records import damaged, sync_directory
from rbcluster.raft.snapshot import SnapshotStore

S = TypeVar("S")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage(Generic[S, V]):
    """What `open_storage` opened."""

    journal: Journal
    snapshots: SnapshotStore[S, V]
    lock: int  # a file descriptor; closing it lets another process in

    def close(self) -> None:
        """Close the journal, whose pending records were told to nobody, and release the lock."""
        self.journal.close()
        os.close(self.lock)


def open_storage(
    directory: Path, node: NodeId, machine: MachineState[S, V], *, sync: bool
) -> Storage[S, V]:
    """Open a node's data directory, or found it.

    :param sync: whether the journal waits for the disk.
    :raises StorageError: if anything is damaged, missing, another node's, in use, or can't be read
        or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "node", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(
            f"{directory} can't be used ({error.strerror}): check its owner, mode and disk"
        ) from error
    try:
        _take_lock(lock, directory)
        snapshots = SnapshotStore(directory / "snapshot", machine)
        if (_owner(lock) or snapshots.head) and not (directory / "journal").exists():
            raise damaged(directory / "journal", "it is missing, and with it the node's vote")
        journal = Journal(directory / "journal", node, sync=sync)
        journal.reconcile(snapshots.head)
        _mark(lock, node, directory)
    except BaseException:
        os.close(lock)
        raise
    return Storage(journal=journal, snapshots=snapshots, lock=lock)


def _take_lock(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StorageError(
            f"{directory} is in use by another process: stop that one, "
            "or give this node a directory of its own"
        ) from error


def _owner(lock: int) -> bytes:
    return os.pread(lock, 100, 0)


def _mark(lock: int, node: NodeId, directory: Path) -> None:
    """Note, once, that the directory is in use; only after its journal is durable."""
    if not _owner(lock):
        os.pwrite(lock, f"{node}\n".encode(), 0)
        os.fsync(lock)
        sync_directory(directory)
