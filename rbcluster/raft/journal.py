"""The Raft log, term and vote on disk, behind PySyncObj's journal interface.

One append-only file of checksummed records (`records.py`); compaction writes a new one::

    ("rbcluster journal", 1, node)   first, once
    ("vote", term, node | None)      current term and vote; the last one counts
    ("entry", index, term, command)  drops every entry from that index on, then appends
    ("clear",)                       drops all entries: a snapshot from the leader follows

Records gather in memory until `flush`, which writes and syncs them in one go. Whoever uses this
flushes before anything that rests on them leaves the node: a frame, a vote, a verdict.

Not here: entries already covered by a snapshot (`snapshot.py`), or when to compact (PySyncObj).
Raft paper 5.2 to 5.4 and figure 2 (persistent state; AppendEntries, receiver rules 3 and 4).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard, overload

from pysyncobj import journal as pysyncobj_journal

from rbcluster.core.ids import NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.records import (
    damaged,
    decode_records,
    encode_record,
    read_file,
    write_file,
)

logger = logging.getLogger(__name__)

Entry = tuple[bytes, int, int]
"""Command with its type byte, log index, term: PySyncObj's own form."""


def is_entry(value: object) -> TypeGuard[Entry]:
    """Tell whether a decoded value is a log entry."""
    match value:
        case (bytes(command), int(index), int(term)):
            return len(command) > 0 and index > 0 and term >= 0
        case _:
            return False


_MAGIC = "rbcluster journal"
_VERSION = 1


class Journal(pysyncobj_journal.Journal):
    """The log of one node. Its camel-case names and positions are PySyncObj's interface."""

    def __init__(self, path: Path, node: NodeId, *, sync: bool) -> None:
        """Open the journal, or found it.

        :param sync: whether `flush` waits for the disk; without it a power loss may undo
            acknowledged entries and votes.
        :raises StorageError: if it is damaged, another node's, or can't be read or written.
        """
        self._path = path
        self._node = node
        self._sync = sync
        self._entries: list[Entry] = []
        self._term = 0
        self._vote: str | None = None
        self._pending: list[bytes] = []
        self._size = 0
        data = read_file(path)
        if data is None:
            self._rewrite()
        else:
            self._replay(data)
        self._descriptor = self._open_for_append()

    def _replay(self, data: bytes) -> None:
        values, good = decode_records(data, self._path)
        match values[:1]:
            case [("rbcluster journal", 1, str(owner))] if owner == self._node.name:
                pass
            case [("rbcluster journal", 1, str(owner))]:
                raise StorageError(
                    f"{self._path} belongs to node {owner}, not to {self._node}: "
                    "each node needs a data directory of its own"
                )
            case _:
                raise damaged(self._path, "it does not begin as a journal of this version")
        for value in values[1:]:
            self._replay_record(value)
        self._size = good
        if good < len(data):
            logger.warning(
                "%s ended in a torn record of %d bytes, as a crash leaves it; it was cut off",
                self._path,
                len(data) - good,
            )
            write_file(self._path, data[:good])

    def _replay_record(self, value: object) -> None:
        match value:
            case ("entry", int(index), int(term), bytes(command)) if self._fits(index):
                self._hold((command, index, term))
            case ("vote", int(term), str() | None as vote):
                self._term, self._vote = term, vote
            case ("clear",):
                self._entries = []
            case _:
                raise damaged(self._path, "a record is out of place")

    def _fits(self, index: int) -> bool:
        return not self._entries or self._entries[0][1] <= index <= self._entries[-1][1] + 1

    def _hold(self, entry: Entry) -> None:
        if self._entries:
            del self._entries[entry[1] - self._entries[0][1] :]
        self._entries.append(entry)

    def _open_for_append(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._path} can't be written ({error.strerror}): "
            "check the disk, then start the node again"
        )

    def _rewrite(self) -> None:
        """Replace the file by one that holds only what still counts."""
        records = [
            encode_record((_MAGIC, _VERSION, self._node.name)),
            encode_record(("vote", self._term, self._vote)),
            *(_encode_entry(entry) for entry in self._entries),
        ]
        data = b"".join(records)
        write_file(self._path, data)
        self._pending = []
        self._size = len(data)

    def reconcile(self, head: tuple[Entry, Entry] | None) -> None:
        """Make the journal begin with the two entries that the snapshot ends with.

        A crash may have fallen between writing a snapshot and trimming the journal, or between
        receiving one and clearing it; in both cases the snapshot is right.

        :param head: last but one and last entry of the snapshot, or None if there is none.
        :raises StorageError: if entries are missing between snapshot and journal.
        """
        if head is None:
            if self._entries and self._entries[0][1] != 1:
                raise damaged(self._path, "the snapshot that it continues is missing")
            return
        first, last = head
        if self._entries and self._entries[0][1] > last[1]:
            raise damaged(self._path, "the snapshot is older than its beginning")
        tail = [entry for entry in self._entries if entry[1] > last[1]]
        continues = any(entry[1:] == last[1:] for entry in self._entries)
        entries = [first, last, *(tail if continues else [])]
        if entries != self._entries:
            logger.info("journal brought in line with the snapshot up to index=%d", last[1])
            self._entries = entries
            self._rewrite()
            self._reopen()

    def _reopen(self) -> None:
        os.close(self._descriptor)
        self._descriptor = self._open_for_append()

    @property
    def size_bytes(self) -> int:
        """Size of the file once everything pending is written."""
        return self._size

    def _append(self, record: bytes) -> None:
        self._pending.append(record)
        self._size += len(record)

    def flush(self) -> None:
        """Write everything pending and wait for the disk.

        :raises StorageError: if that fails. What is on disk is then unknown: stop the node.
        """
        if not self._pending:
            return
        data = memoryview(b"".join(self._pending))
        self._pending = []
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            if self._sync:
                os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Close the file; what is still pending is dropped."""
        os.close(self._descriptor)

    # PySyncObj's interface

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry by the rule of Raft: one that is held already changes nothing."""
        position = idx - self._entries[0][1] if self._entries else 0
        if position < len(self._entries) and self._entries[position][2] == term:
            return
        entry = (bytes(command), idx, term)
        self._hold(entry)
        self._append(_encode_entry(entry))

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        """Do nothing.

        PySyncObj cuts the log after `prevLogIdx` at every append_entries, conflict or not: one
        sent again would undo entries acknowledged since. `add` cuts where there is a conflict.
        """

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        """Drop the first `entryTo` entries, which a snapshot covers."""
        del self._entries[:entryTo]
        self._rewrite()
        self._reopen()

    def clear(self) -> None:
        """Drop all entries; those of an installed snapshot follow."""
        self._entries = []
        self._append(encode_record(("clear",)))

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | Sequence[Entry]:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        """Note term and vote."""
        self._term, self._vote = term, votedForNodeId
        self._append(encode_record(("vote", term, votedForNodeId)))

    def getCurrentTerm(self) -> int:  # noqa: N802
        """Return the last noted term."""
        return self._term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        """Return who got this node's vote in that term."""
        return self._vote

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Do nothing: the commit index is volatile in Raft; a leader tells it again."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """Return what is known to be committed at a start: the end of the snapshot, if any."""
        has_snapshot = bool(self._entries) and self._entries[0][1] > 1
        return self._entries[1][1] if has_snapshot else 1

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Do nothing: nothing here waits for a timer."""


def _encode_entry(entry: Entry) -> bytes:
    command, index, term = entry
    return encode_record(("entry", index, term, command))
