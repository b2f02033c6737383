"""A real process, killed with -9 before every call that changes its files."""

from __future__ import annotations

import os
import posix
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.machine import MachineState
from rbcluster.raft.profile import LAN
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.pysyncobj_voters import ReplicaParts
from rbcluster.raft.storage import Storage, StoragePlace, open_storage
from tests.shared.ledger import LEDGER, Ledger

COMMANDS = [b"%d" % number for number in range(9)]
PROFILE = replace(
    LAN,
    append_s=0.0001,
    leader_fallback_s=0.0005,
    election_min_s=0.001,
    election_max_s=0.002,
    compact_entries=4,
)
CHANGES = (posix.pwrite, posix.ftruncate, posix.fsync, posix.rename, posix.open)
"""Between two of these the files stay as they are: a kill there is a kill at the second."""


def opened(directory: Path, machine: MachineState[Ledger, int]) -> Storage[Ledger, int]:
    place = StoragePlace(
        directory=directory,
        cluster=ClusterId(bytes(16)),
        node=NodeId("a"),
        sync=False,  # what was written survives a kill; `test_crashes.py` is about power
    )
    return open_storage(place, machine)


def only_voter(directory: Path) -> tuple[Replica, MachineState[Ledger, int]]:
    machine = MachineState(LEDGER)
    storage = opened(directory, machine)
    return Replica(
        ReplicaParts(
            node=PeerNode("a"),
            incarnation=storage.owner.incarnation,
            base=lambda: {NodeId("a"): None},
            profile=PROFILE,
            journal=storage.journal,
            snapshots=storage.snapshots,
            apply=machine.apply,
            send=lambda _node, _message: False,
        )
    ), machine


def commit_all(directory: Path, acknowledge: Callable[[bytes], object]) -> None:
    """Be a cluster of one, with a snapshot every few commands."""
    replica, _ = only_voter(directory)
    while not replica.is_leader():
        replica.tick()
    for command in COMMANDS:
        done: list[int] = []
        replica.submit(command, lambda _verdict, code, done=done: done.append(code))  # type: ignore[misc]
        while not done:
            replica.tick()
        acknowledge(command)


def killed_at(directory: Path, call: int) -> Ledger | None:
    """What a process had acknowledged when it was killed at its n-th call; None if it never was."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        num_calls = 0

        def look(_frame: FrameType, what: str, function: object) -> None:
            nonlocal num_calls
            if what == "c_call" and function in CHANGES:
                num_calls += 1
                if num_calls == call:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(look)
            commit_all(directory, lambda command: os.write(writer, command + b"\n"))
        finally:
            os._exit(0)  # whatever happens, it does not go on as a second pytest
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        acknowledged = tuple(pipe.read().split())
    _, status = os.waitpid(child, 0)
    return acknowledged if os.WIFSIGNALED(status) else None


@pytest.fixture(name="directory")
def directory_in_memory(tmp_path: Path) -> Iterator[Path]:
    """A kill leaves what the kernel holds: no disk is needed, and memory is faster."""
    memory = Path("/dev/shm")  # noqa: S108 - a directory of its own is made there
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        yield Path(directory)


def test_nothing_acknowledged_is_lost_wherever_a_process_is_killed(directory: Path) -> None:
    call, num_files = 0, set()
    while True:
        call += 1
        life = directory / str(call)
        acknowledged = killed_at(life, call)
        if acknowledged is None:
            break
        machine = MachineState(LEDGER)
        storage = opened(life, machine)
        num_files.add(len(list(life.iterdir())))
        if storage.snapshots.head is not None:
            storage.snapshots.deserialize()
        covered = storage.snapshots.head[1][1] if storage.snapshots.head else 1
        entries = [command[1:] for command, index, _ in storage.journal[:] if index > covered]
        held = machine.current + tuple(entry for entry in entries if entry)
        storage.close()
        assert held in (acknowledged, tuple(COMMANDS[: len(acknowledged) + 1]))
    assert call > 40
    assert 4 in num_files  # a snapshot had been there
