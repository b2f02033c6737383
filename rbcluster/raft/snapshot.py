"""The snapshot: the state at one index of the log, on disk and on its way to a follower.

Stands where PySyncObj would have its own serializer, which forks, replaces the good file before it
has read the new one, and asks for pickle. The file holds two checksummed records::

    ("rbcluster snapshot", 1, cluster id)
    (last entry, entry before it, names of the voters, state)

It is put in place whole, so anything missing or changed in it is damage, and refused. The state
carries its own version: one that a newer release wrote is refused by name, not as damage.

The bytes are kept in memory too: a transfer goes on undisturbed from the bytes it began with.

Not here: what a state is (`machine.py`), or when to take a snapshot (PySyncObj). Raft paper 7.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pysyncobj.config import SERIALIZER_STATE

from rbcluster.core.ids import ClusterId
from rbcluster.errors import SchemaError, StorageError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.damage import damaged, foreign, unknown_format
from rbcluster.raft.disk import POSIX_DISK, Disk, read_file, replace_file
from rbcluster.raft.limits import MAX_SNAPSHOT_BYTES, SNAPSHOT_CHUNK_BYTES
from rbcluster.raft.log_content import Entry, is_entry
from rbcluster.raft.machine import MachineState
from rbcluster.raft.records import decode_records, encode_record

logger = logging.getLogger(__name__)

S = TypeVar("S")
V = TypeVar("V")

_MAGIC = "rbcluster snapshot"
_FORMAT = 1

Chunk = tuple[bytes, bool, bool]
"""Bytes of a snapshot, whether they are the first, and whether all have been sent (then empty)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot(Generic[S]):
    last: Entry
    previous: Entry
    voters: tuple[PeerNode, ...]
    state: S


class SnapshotStore(Generic[S, V]):
    """The snapshot of one node. Its camel-case names are PySyncObj's interface."""

    def __init__(
        self,
        path: Path,
        machine: MachineState[S, V],
        cluster: ClusterId,
        *,
        disk: Disk = POSIX_DISK,
    ) -> None:
        """Read the snapshot, if there is one. The state is not adopted yet.

        :raises StorageError: if it is damaged, of another cluster, or can't be read.
        :raises SchemaError: if a newer release wrote its state.
        """
        self.path = path
        self.install_above = 0  # a received snapshot that ends here or before is stale
        self._machine = machine
        self._cluster = cluster
        self._disk = disk
        self._data = read_file(disk, path)
        self._current = None if self._data is None else self._decode(self._data)
        self._incoming: bytearray | None = None
        self._sent: dict[PeerNode, tuple[bytes, int]] = {}  # the snapshot, and how far it has gone
        self._written: int | None = None  # index of a snapshot that PySyncObj doesn't know of yet

    @property
    def head(self) -> tuple[Entry, Entry] | None:
        """Last but one and last entry that the snapshot covers, or None without a snapshot."""
        return None if self._current is None else (self._current.previous, self._current.last)

    @property
    def state(self) -> S | None:
        """The state that the snapshot holds, or None without a snapshot."""
        return None if self._current is None else self._current.state

    def _decode(self, data: bytes) -> _Snapshot[S]:
        match decode_records(data, self.path):
            case [("rbcluster snapshot", 1, bytes(cluster)), _] if cluster != self._cluster.raw:
                raise foreign(
                    self.path, f"belongs to cluster {cluster.hex()}, not to {self._cluster}"
                )
            case [
                ("rbcluster snapshot", 1, bytes()),
                (last, previous, tuple(voters), bytes(encoded)),
            ] if (
                is_entry(last)
                and is_entry(previous)
                and last[1] == previous[1] + 1
                and all(isinstance(voter, PeerNode) for voter in voters)
            ):
                pass
            case [("rbcluster snapshot", found, *_), *_] if found != _FORMAT:
                raise unknown_format(self.path, found, _FORMAT)
            case _:
                raise damaged(self.path, "it is no whole snapshot")
        try:
            state = self._machine.decode(encoded)
        except SchemaError:
            raise
        except Exception as error:  # whatever the state machine raises for foreign bytes
            raise damaged(self.path, f"its state can't be read: {error}") from error
        return _Snapshot(last=last, previous=previous, voters=voters, state=state)

    # PySyncObj's interface

    def serialize(
        self, data: tuple[object, Entry, Entry, Iterable[PeerNode | None]], id_: int
    ) -> None:
        """Write a snapshot of the current state.

        :param data: PySyncObj's own state (unused), last entry, the one before, all voters.
        :param id_: index of the one before: the log will begin with it.
        :raises StorageError: if it can't be written.
        """
        _, last, previous, voters = data
        members = tuple(sorted((v for v in voters if v is not None), key=lambda v: v.id))
        encoded = encode_record((_MAGIC, _FORMAT, self._cluster.raw)) + encode_record(
            (last, previous, members, self._machine.encode())
        )
        self._replace(
            encoded,
            _Snapshot(last=last, previous=previous, voters=members, state=self._machine.current),
        )
        self._written = id_

    def _replace(self, data: bytes, snapshot: _Snapshot[S]) -> None:
        replace_file(self._disk, self.path, data)
        self._data, self._current = data, snapshot
        self._sent.clear()  # the log no longer reaches back to what the old one covers

    def checkSerializing(self) -> tuple[int, int | None]:  # noqa: N802
        """Report a snapshot just written, once."""
        if self._written is None:
            return SERIALIZER_STATE.NOT_SERIALIZING, None
        index, self._written = self._written, None
        return SERIALIZER_STATE.SUCCESS, index

    def deserialize(self) -> tuple[None, Entry, Entry, tuple[PeerNode, ...]]:
        """Adopt the state of the snapshot, which was checked when it was read or received."""
        snapshot = self._current
        assert snapshot is not None, "PySyncObj asks only when the file exists"
        self._machine.current = snapshot.state
        return None, snapshot.last, snapshot.previous, snapshot.voters

    def getTransmissionData(self, node: PeerNode) -> Chunk | None:  # noqa: N802
        """Return the next chunk for a follower, or None without a snapshot."""
        if self._data is None:
            return None
        data, position = self._sent.get(node, (self._data, 0))
        chunk = data[position : position + SNAPSHOT_CHUNK_BYTES]
        if chunk:
            self._sent[node] = (data, position + len(chunk))
        else:
            self._sent.pop(node, None)
        return chunk, position == 0, not chunk

    def setTransmissionData(self, chunk: Chunk | None) -> bool:  # noqa: N802
        """Take a chunk from the leader.

        :returns: whether the snapshot is now complete, sound, newer than this node's state, and in
            place of the old one.
        :raises StorageError: if it can't be written.
        :raises SchemaError: if the leader's release is newer: this node can't follow it.
        """
        if chunk is None:
            return False
        data, is_first, is_last = chunk
        if is_first:
            self._incoming = bytearray()
        if self._incoming is None:
            return False
        self._incoming += data
        if len(self._incoming) > MAX_SNAPSHOT_BYTES:
            logger.warning("a snapshot of more than %d bytes was refused", MAX_SNAPSHOT_BYTES)
            self._incoming = None
            return False
        if not is_last:
            return False
        received, self._incoming = bytes(self._incoming), None
        return self._install(received)

    def _install(self, data: bytes) -> bool:
        try:
            snapshot = self._decode(data)
        except StorageError as error:
            logger.warning("a snapshot from the leader is refused: %s", error)
            return False
        if snapshot.last[1] <= self.install_above:
            logger.info("a stale snapshot up to index=%d was dropped", snapshot.last[1])
            return False
        self._replace(data, snapshot)
        return True

    def cancelTransmisstion(self, node: PeerNode) -> None:  # noqa: N802
        """Do nothing.

        PySyncObj cancels whenever it sees the node unconnected, also while it merely waits for the
        link to drain. `cancel` is called when the link really went down.
        """

    def cancel(self, node: PeerNode) -> None:
        """Forget a transfer: the link it went over is gone."""
        self._sent.pop(node, None)
