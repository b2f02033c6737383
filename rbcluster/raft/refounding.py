"""A node's storage made the first one of a new cluster, with all that it knows; off-line.

Whatever its log holds is taken, committed or not: what had been acknowledged is among it as far as
this node ever had it, and of the rest nobody was told that it failed. Log and terms go on from
where they were, so that nothing of the new cluster is older than anything of the old one.

::

    raft/                    read, under its lock
    raft.new/                snapshot, journal of two empty entries, mark: another cluster's storage
    raft/ -> raft.set-aside-*, raft.new/ -> raft/

Not here: what becomes of the state (`core/refounding.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from rbcluster.core.ids import ClusterId, Incarnation
from rbcluster.errors import StorageError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.disk import blaming
from rbcluster.raft.journal import Journal
from rbcluster.raft.log_content import Entry, LogContent
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import NO_OP
from rbcluster.raft.replay import replay
from rbcluster.raft.snapshot import SnapshotStore
from rbcluster.raft.storage import StoragePlace, locked, open_storage, read_storage, rename_aside

S = TypeVar("S")
V = TypeVar("V")

_FIRST_SNAPSHOT_AT = 3  # a journal that begins at 1 has no snapshot before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains(Generic[S]):
    """What a storage knows of its cluster."""

    state: S
    term: int
    last_index: int  # of its log; of two nodes, the one whose last term and index are higher knows
    last_term: int  # more


def read_remains(place: StoragePlace, machine: MachineState[S, V]) -> Remains[S]:
    """Read all that a node's storage knows, without changing it.

    :raises StorageError: if there is none, it is in use, damaged, another's, or can't be read.
    :raises SchemaError: if a newer release wrote it.
    """
    if not place.directory.exists():
        raise StorageError(f"{place.directory} does not exist: there is nothing to begin from")
    with locked(place.directory):
        return _replayed(place, machine)


def _replayed(place: StoragePlace, machine: MachineState[S, V]) -> Remains[S]:
    found = read_storage(place, machine)
    replay(found.snapshots, found.content.entries, machine)
    _, last_index, last_term = found.content.entries[-1] if found.content.entries else (b"", 0, 0)
    return Remains(
        state=machine.current,
        term=found.content.term,
        last_index=last_index,
        last_term=last_term,
    )


def refound(
    place: StoragePlace,
    machine: MachineState[S, V],
    cluster: ClusterId,
    begin: Callable[[S, Incarnation], S],
    at: datetime,
) -> Path:
    """Make a node's storage that of a new cluster, in which it alone votes.

    :param begin: makes the first state, from the last one and the new storage's incarnation.
    :param at: aware instant, for the name of the old one.
    :returns: where the old storage is kept.
    :raises StorageError: as `read_remains`, or if something can't be written.
    :raises SchemaError: as `read_remains`.
    """
    new = replace(place, directory=place.directory.with_name("raft.new"), cluster=cluster)
    with locked(place.directory):
        remains = _replayed(place, machine)
        owner = new.new_owner()
        machine.current = begin(remains.state, owner.incarnation)
        with blaming(new.directory, doing="made"):
            shutil.rmtree(new.directory, ignore_errors=True)  # of an attempt that was interrupted
            new.directory.mkdir(mode=0o700)
        head = _head(remains)
        store = SnapshotStore(new.directory / "snapshot", machine, cluster, disk=new.disk)
        store.serialize((None, head[1], head[0], (PeerNode(place.node.name),)), head[0][1])
        content = LogContent(owner, term=remains.term, entries=list(head))
        Journal(new.directory / "journal", content, sync=True, disk=new.disk).close()
        open_storage(new, machine).close()  # marks it, and sees that it holds
        aside = rename_aside(place.directory, at)
        with blaming(new.directory, doing="put in place"):
            new.directory.rename(place.directory)
            place.disk.sync_directory(place.directory.parent)
    return aside


def _head(remains: Remains[S]) -> tuple[Entry, Entry]:
    """Make the two entries that the new log begins with; none of the old, which said who voted."""
    last = max(remains.last_index, _FIRST_SNAPSHOT_AT)
    return (NO_OP, last - 1, remains.last_term), (NO_OP, last, remains.last_term)
