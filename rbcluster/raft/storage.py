"""The data directory of one node: lock, mark, snapshot and journal, opened together.

::

    raft/lock       empty; locked while the engine runs
    raft/node       whose storage it is (`storage_identity.py`), once its journal was durable
    raft/snapshot   `snapshot.py`
    raft/journal    `journal.py`

A directory that was used before and lacks its journal is refused: with it a node would forget its
vote, and could give a second one in the same term. What was refused is set aside by `set_aside`
(`rbcluster reset-node`); the storage founded in its place has another incarnation.

Overview::

    StoragePlace       where, and whose
    open_storage       -> Storage: found it, or go on with it
    check_storage      look at it without changing it
    set_aside          rename it, so that the node starts clean
    locked, read_storage, rename_aside   for who does more with it (`refounding.py`)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from rbcluster.core.ids import ID_BYTES, ClusterId, Incarnation, NodeId
from rbcluster.errors import StorageInUseError
from rbcluster.raft.damage import damaged, foreign, unknown_format
from rbcluster.raft.disk import POSIX_DISK, Disk, blaming, read_file, replace_file
from rbcluster.raft.journal import Journal, read_journal
from rbcluster.raft.log_content import LogContent
from rbcluster.raft.machine import MachineState
from rbcluster.raft.records import decode_records, encode_record
from rbcluster.raft.snapshot import SnapshotStore
from rbcluster.raft.storage_identity import StorageIdentity

S = TypeVar("S")
V = TypeVar("V")

_MAGIC = "rbcluster node"
_FORMAT = 1
_ASIDE = ".set-aside-"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragePlace:
    """Where a node's storage is, and whose it must be."""

    directory: Path  # made if it is missing
    cluster: ClusterId
    node: NodeId
    sync: bool = True  # whether the journal waits for the disk
    disk: Disk = POSIX_DISK
    draw: Callable[[int], bytes] = os.urandom  # for the incarnation of a storage founded now

    def new_owner(self) -> StorageIdentity:
        """Return who owns the storage if it is founded now."""
        return StorageIdentity(
            cluster=self.cluster, node=self.node, incarnation=Incarnation(self.draw(ID_BYTES))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage(Generic[S, V]):
    """What `open_storage` opened."""

    owner: StorageIdentity
    journal: Journal
    snapshots: SnapshotStore[S, V]
    lock: int  # a file descriptor; closing it lets another process in

    def close(self) -> None:
        """Close the journal, whose pending records were told to nobody, and release the lock."""
        self.journal.close()
        os.close(self.lock)


def open_storage(place: StoragePlace, machine: MachineState[S, V]) -> Storage[S, V]:
    """Open a node's data directory, or found it.

    :raises StorageError: if anything is damaged, missing, another's, in use, or can't be read or
        written.
    :raises SchemaError: if a newer release wrote the state in the snapshot.
    """
    with blaming(place.directory, doing="used"):
        place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _take_lock(place.directory)
    try:
        found = read_storage(place, machine)
        journal = Journal(
            place.directory / "journal", found.content, sync=place.sync, disk=place.disk
        )
        if not found.is_marked:
            mark = encode_record((_MAGIC, _FORMAT, journal.owner.to_wire()))
            replace_file(place.disk, place.directory / "node", mark)
    except BaseException:
        os.close(lock)
        raise
    return Storage(owner=journal.owner, journal=journal, snapshots=found.snapshots, lock=lock)


def check_storage(place: StoragePlace, machine: MachineState[S, V]) -> None:
    """Look at a node's data directory without changing it.

    :raises StorageError: as `open_storage` would.
    :raises SchemaError: as `open_storage` would.
    """
    with locked(place.directory):
        read_storage(place, machine)


def set_aside(directory: Path, at: datetime) -> Path:
    """Rename a data directory, so that the next start founds a new storage.

    :param at: aware instant, for the name.
    :returns: its new name.
    :raises StorageError: if it is in use, or can't be renamed.
    """
    with locked(directory):
        return rename_aside(directory, at)


def rename_aside(directory: Path, at: datetime) -> Path:
    """As `set_aside`, by who holds the lock."""
    aside = directory.with_name(f"{directory.name}{_ASIDE}{at:%Y%m%dT%H%M%SZ}")
    with blaming(directory, doing="set aside"):
        directory.rename(aside)
        POSIX_DISK.sync_directory(directory.parent)
    return aside


def had_another_before(directory: Path) -> bool:
    """Tell whether a node had a storage that was set aside."""
    return any(directory.parent.glob(f"{directory.name}{_ASIDE}*"))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep every other process from a data directory.

    :raises StorageInUseError: if one uses it.
    """
    lock = _take_lock(directory)
    try:
        yield
    finally:
        os.close(lock)


def _take_lock(directory: Path) -> int:
    with blaming(directory, doing="used"):
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StorageInUseError(
            f"{directory} is in use by another process: stop that one, "
            "or give this node a directory of its own"
        ) from error
    return lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[S, V]):
    """What is in a data directory."""

    snapshots: SnapshotStore[S, V]
    content: LogContent  # in line with the snapshot
    is_marked: bool


def read_storage(place: StoragePlace, machine: MachineState[S, V]) -> Found[S, V]:
    """Read and check everything, and change nothing; under the lock."""
    directory, disk, newcomer = place.directory, place.disk, place.new_owner()
    snapshots = SnapshotStore(directory / "snapshot", machine, place.cluster, disk=disk)
    marked = _marked_owner(directory / "node", newcomer, disk)
    content = read_journal(directory / "journal", newcomer, disk)
    if content is None:
        if marked is not None or snapshots.head is not None:
            raise damaged(directory / "journal", "it is missing, and with it the node's vote")
        content = LogContent(newcomer)
    elif marked not in (None, content.owner):
        raise foreign(directory / "journal", "is of another life of this node")
    content.reconcile(snapshots.head, directory / "journal")
    return Found(snapshots=snapshots, content=content, is_marked=marked is not None)


def _marked_owner(path: Path, expected: StorageIdentity, disk: Disk) -> StorageIdentity | None:
    data = read_file(disk, path)
    if data is None:
        return None
    match decode_records(data, path):
        case [("rbcluster node", 1, wire)]:
            try:
                owner = StorageIdentity.from_wire(wire)
            except ValueError as error:
                raise damaged(path, str(error)) from error
        case [("rbcluster node", found, *_)]:
            raise unknown_format(path, found, _FORMAT)
        case _:
            raise damaged(path, "it does not say whose storage this is")
    difference = owner.difference(expected)
    if difference is not None:
        raise foreign(path, difference)
    return owner
