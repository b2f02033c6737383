"""Disks of the simulation: where a process is ended in the middle of a write, nothing follows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.raft.disk import SECTOR_BYTES
from tests.shared.model_disk import ModelFile, Stopped
from tests.sim.disk import Disks

NODE = NodeId("ada")
PATH = Path("file")
OLD, NEW = bytes(SECTOR_BYTES), bytes([1]) * SECTOR_BYTES


@pytest.fixture
def made() -> Disks:
    return Disks(Path("unused"), random.Random(7))


def written(made: Disks) -> ModelFile:
    file = made.disk(NODE).create(PATH)
    file.write_at(3 * OLD, 0)
    file.sync()
    return file


def test_a_process_ends_at_the_write_it_was_told_to(made: Disks) -> None:
    file, ended = written(made), []
    made.stop_at(NODE, 1, lambda: ended.append(NODE))
    file.write_at(NEW, 0)
    assert not ended
    with pytest.raises(Stopped):
        file.write_at(3 * NEW, 0)
    assert ended == [NODE]


def test_what_is_written_after_the_end_changes_nothing(made: Disks) -> None:
    file = written(made)
    made.stop_at(NODE, 0, lambda: None)
    with pytest.raises(Stopped):
        file.sync()
    for _ in range(20):
        with pytest.raises(Stopped):
            file.write_at(3 * NEW, 0)
    made.kill(NODE)
    for _ in range(20):
        with pytest.raises(Stopped):
            file.write_at(3 * NEW, 0)
    assert made.disk(NODE).read(PATH) == 3 * OLD


def test_a_new_process_may_write(made: Disks) -> None:
    written(made)
    made.stop_at(NODE, 0, lambda: None)
    with pytest.raises(Stopped):
        made.disk(NODE).remove(PATH)
    made.kill(NODE)
    made.disk(NODE).open(PATH).write_at(3 * NEW, 0)
    assert made.disk(NODE).read(PATH) == 3 * NEW
