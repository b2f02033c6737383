"""What a journal says, without the file: owner, term, vote and entries, record by record.

Records, in the order in which they were written::

    ("rbcluster journal", 1, owner)  first, once; owner as in `storage_identity.py`
    ("vote", term, node | None)      current term and vote; the last one counts
    ("entry", index, term, command)  drops every entry from that index on, then appends
    ("clear",)                       drops all entries: those of a snapshot from the leader follow

Not here: how records become bytes on a disk (`journal.py`, `batches.py`). Raft paper 5.2 to 5.4 and
figure 2 (persistent state; AppendEntries, receiver rules 3 and 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from rbcluster.raft.codec import CodecError, loads
from rbcluster.raft.damage import damaged, unknown_format
from rbcluster.raft.storage_identity import StorageIdentity

Entry = tuple[bytes, int, int]
"""Command with its type byte, log index, term: PySyncObj's own form."""

Record = tuple[object, ...]

MAGIC = "rbcluster journal"
FORMAT = 1
CLEAR: Record = ("clear",)


def is_entry(value: object) -> TypeGuard[Entry]:
    """Tell whether a decoded value is a log entry."""
    match value:
        case (bytes(command), int(index), int(term)):
            return len(command) > 0 and index > 0 and term >= 0
        case _:
            return False


def entry_record(entry: Entry) -> Record:
    """Return the record that appends an entry."""
    command, index, term = entry
    return "entry", index, term, command


@dataclass(slots=True)
class LogContent:
    """The persistent state of one node, as of the last record."""

    owner: StorageIdentity
    term: int = 0
    vote: str | None = None
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def replay(cls, bodies: Iterable[bytes], path: Path) -> LogContent:
        """Read the bodies of a journal's batches: each a sequence of records.

        :raises StorageError: if a record is none, is out of place, or of another format.
        """
        records = _records(bodies, path)
        content = cls(_owner(next(records, None), path))
        for record in records:
            if not content._take(record):
                raise damaged(path, "a record is out of place")
        return content

    def _take(self, record: object) -> bool:
        match record:
            case ("entry", int(index), int(term), bytes(command)) if self._fits(index):
                self.hold((command, index, term))
            case ("vote", int(term), str() | None as vote) if term >= self.term:
                self.term, self.vote = term, vote
            case ("clear",):
                self.entries = []
            case _:
                return False
        return True

    def _fits(self, index: int) -> bool:
        return not self.entries or self.entries[0][1] <= index <= self.entries[-1][1] + 1

    def hold(self, entry: Entry) -> None:
        """Append an entry, in place of any from its index on."""
        if self.entries:
            del self.entries[entry[1] - self.entries[0][1] :]
        self.entries.append(entry)

    def records(self) -> tuple[Record, ...]:
        """Return the fewest records that say the same."""
        return (
            (MAGIC, FORMAT, self.owner.to_wire()),
            ("vote", self.term, self.vote),
            *map(entry_record, self.entries),
        )

    def reconcile(self, head: tuple[Entry, Entry] | None, path: Path) -> None:
        """Begin with the two entries that the snapshot ends with.

        A crash may have fallen between writing a snapshot and trimming the journal, or between
        receiving one and clearing it; in both cases the snapshot is right.

        :param head: last but one and last entry of the snapshot, or None if there is none.
        :raises StorageError: if entries are missing between snapshot and journal.
        """
        if head is None:
            if self.entries and self.entries[0][1] != 1:
                raise damaged(path, "the snapshot that it continues is missing")
            return
        first, last = head
        if self.entries and self.entries[0][1] > last[1]:
            raise damaged(path, "the snapshot is older than its beginning")
        continues = any(entry[1:] == last[1:] for entry in self.entries)
        tail = [entry for entry in self.entries if entry[1] > last[1]] if continues else []
        self.entries = [first, last, *tail]


def _records(bodies: Iterable[bytes], path: Path) -> Iterator[object]:
    for body in bodies:
        try:
            records = loads(body)
        except CodecError as error:
            raise damaged(path, "a batch holds no records") from error
        if not isinstance(records, tuple):
            raise damaged(path, "a batch holds no records")
        yield from records


def _owner(record: object, path: Path) -> StorageIdentity:
    match record:
        case ("rbcluster journal", 1, owner):
            try:
                return StorageIdentity.from_wire(owner)
            except ValueError as error:
                raise damaged(path, str(error)) from error
        case ("rbcluster journal", found, *_):
            raise unknown_format(path, found, FORMAT)
        case _:
            raise damaged(path, "it does not begin as a journal")
