"""What a log would lead to if all of it were committed.

Two may want to know: a node that starts, and has yet to hear what is committed, of the addresses
under which it will; and who begins a new cluster with it (`refounding.py`).

Not here: applying what is committed (PySyncObj).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rbcluster.raft.log_content import Entry
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import command_of
from rbcluster.raft.snapshot import SnapshotStore

S = TypeVar("S")
V = TypeVar("V")


def replay(
    snapshots: SnapshotStore[S, V], entries: Iterable[Entry], machine: MachineState[S, V]
) -> None:
    """Apply snapshot and log to a machine to which nothing was applied.

    :raises SchemaError: at the first command that a newer release wrote; what is before it is
        applied.
    """
    if snapshots.state is not None:
        machine.current = snapshots.state
    covered = 0 if snapshots.head is None else snapshots.head[1][1]
    for entry, index, _ in entries:
        command = command_of(entry)
        if index > covered and command is not None:
            machine.apply(command)
