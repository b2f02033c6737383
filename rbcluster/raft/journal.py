"""The Raft log, term and vote on disk, behind PySyncObj's journal interface.

Records (`log_content.py`) gather in memory until `flush`, which writes them as one batch
(`batches.py`) and syncs it. Whoever uses this flushes before anything that rests on them leaves the
node: a frame, a vote, a verdict.

Opening and compaction write the file anew and put it in place whole. At opening that drops a torn
batch, shows a full disk before it matters, and gets on the disk what the system's cache may hold of
a last life whose syncing failed.

Not here: entries already covered by a snapshot (`snapshot.py`), or when to compact (PySyncObj).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from pysyncobj import journal as pysyncobj_journal

from rbcluster.errors import StorageError
from rbcluster.raft import codec
from rbcluster.raft.batches import decode_batches, encode_batch, file_size
from rbcluster.raft.damage import foreign
from rbcluster.raft.disk import POSIX_DISK, Disk, DiskFile, blaming, read_file, replace_file
from rbcluster.raft.log_content import CLEAR, Entry, LogContent, Record, entry_record
from rbcluster.raft.storage_identity import StorageIdentity

logger = logging.getLogger(__name__)


def read_journal(path: Path, owner: StorageIdentity, disk: Disk = POSIX_DISK) -> LogContent | None:
    """Read a journal without changing it; None if there is none.

    :param owner: whose it must be; the incarnation is the journal's own to say.
    :raises StorageError: if it is damaged, another's, or can't be read.
    """
    data = read_file(disk, path)
    if data is None:
        return None
    batches = decode_batches(data, path)
    content = LogContent.replay(batches.bodies, path)
    difference = content.owner.difference(owner)
    if difference is not None:
        raise foreign(path, difference)
    if batches.torn_at is not None:
        logger.warning(
            "%s ends, at byte %d, in a batch that a crash tore; nobody was told of it: dropped",
            path,
            batches.torn_at,
        )
    return content


class Journal(pysyncobj_journal.Journal):
    """The log of one node. Its camel-case names and positions are PySyncObj's interface."""

    def __init__(
        self, path: Path, content: LogContent, *, sync: bool, disk: Disk = POSIX_DISK
    ) -> None:
        """Found a journal, or go on with one that was read.

        :param content: what it is to hold.
        :param sync: whether `flush` waits for the disk; without it a power loss may undo
            acknowledged entries and votes.
        :raises StorageError: if it can't be written.
        """
        self._path = path
        self._content = content
        self._sync = sync
        self._disk = disk
        self._pending: list[Record] = []
        self._failure: StorageError | None = None
        self._file: DiskFile | None = None
        self._rewrite()

    def _rewrite(self) -> None:
        """Replace the file by one that holds only what still counts."""
        self.close()
        data = encode_batch(1, codec.dumps(self._content.records()))
        self._num_batches, self._used, self._size = 1, len(data), file_size(len(data))
        self._pending = []
        replace_file(self._disk, self._path, data.ljust(self._size, b"\0"))
        with blaming(self._path):
            self._file = self._disk.open(self._path)

    @property
    def owner(self) -> StorageIdentity:
        """Whose journal this is."""
        return self._content.owner

    @property
    def size_bytes(self) -> int:
        """How much of the file is used."""
        return self._used

    def flush(self) -> None:
        """Write everything pending and wait for the disk.

        :raises StorageError: if that fails, now or before. What is on disk is then unknown: the
            node must stop.
        """
        if self._failure is not None:
            raise self._failure
        if self._pending:
            records, self._pending = tuple(self._pending), []
            try:
                self._write(encode_batch(self._num_batches + 1, codec.dumps(records)))
            except StorageError as error:
                self._failure = error
                raise

    def _write(self, batch: bytes) -> None:
        assert self._file is not None, "a closed journal"
        with blaming(self._path):
            size = file_size(self._used + len(batch))
            if size > self._size:
                self._grow(self._file, size)
            self._file.write_at(batch, self._used)
            if self._sync:
                self._file.sync()
        self._num_batches += 1
        self._used += len(batch)

    def _grow(self, file: DiskFile, size: int) -> None:
        """Make room before a batch uses it, or a crash could leave a part of that in a cut file."""
        file.resize(size)  # at once; writing alone could leave any length
        file.write_at(bytes(size - self._size), self._size)  # now the blocks are ours, too
        if self._sync:
            file.sync()
        self._size = size

    def close(self) -> None:
        """Close the file; what is still pending is dropped."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # PySyncObj's interface

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry by the rule of Raft: one that is held already changes nothing."""
        entries = self._content.entries
        position = idx - entries[0][1] if entries else 0
        if position < len(entries) and entries[position][2] == term:
            return
        entry = (bytes(command), idx, term)
        self._content.hold(entry)
        self._pending.append(entry_record(entry))

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803
        """Do nothing.

        PySyncObj cuts the log after `prevLogIdx` at every append_entries, conflict or not: one
        sent again would undo entries acknowledged since. `add` cuts where there is a conflict.
        """

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803
        """Drop the first `entryTo` entries, which a snapshot covers.

        :raises StorageError: if the journal can't be written anew: the node must stop.
        """
        del self._content.entries[:entryTo]
        try:
            self._rewrite()
        except StorageError as error:
            self._failure = error
            raise

    def clear(self) -> None:
        """Drop all entries; those of an installed snapshot follow."""
        self._content.entries = []
        self._pending.append(CLEAR)

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Entry]: ...
    def __getitem__(self, item: int | slice) -> Entry | Sequence[Entry]:
        return self._content.entries[item]

    def __len__(self) -> int:
        return len(self._content.entries)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        """Note term and vote."""
        self._content.term, self._content.vote = term, votedForNodeId
        self._pending.append(("vote", term, votedForNodeId))

    def getCurrentTerm(self) -> int:  # noqa: N802
        """Return the last noted term."""
        return self._content.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        """Return who got this node's vote in that term."""
        return self._content.vote

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803
        """Do nothing: the commit index is volatile in Raft; a leader tells it again."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """Return what is known to be committed at a start: the end of the snapshot, if any."""
        entries = self._content.entries
        has_snapshot = bool(entries) and entries[0][1] > 1
        return entries[1][1] if has_snapshot else 1

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Do nothing: nothing here waits for a timer."""
