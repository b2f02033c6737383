"""A disk that takes no writes is noticed before the journal needs it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rbcluster.agent.disk_probe import DiskProbe, find_disk_fault


def test_disk_that_takes_a_write_has_no_fault_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    assert find_disk_fault(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_disk_that_is_nearly_full_is_a_fault(tmp_path: Path) -> None:
    fault = find_disk_fault(tmp_path, min_free_bytes=2**62)
    assert fault is not None
    assert fault.startswith(f"the disk that holds {tmp_path} is nearly full (")


def test_write_that_fails_is_told_in_the_systems_words(tmp_path: Path) -> None:
    (tmp_path / "probe").symlink_to("/dev/full")
    assert find_disk_fault(tmp_path) == (
        f"{tmp_path} can't be written (No space left on device): see to its disk, owner and mode"
    )


def test_directory_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    fault = find_disk_fault(tmp_path / "gone")
    assert fault is not None
    assert "No such file or directory" in fault


async def test_each_change_is_told_once(tmp_path: Path) -> None:
    told: list[str | None] = []
    probe = DiskProbe(tmp_path, lambda: told.append(probe.fault))
    await probe.look()
    assert told == []
    (tmp_path / "probe").symlink_to("/dev/full")
    for _ in range(2):
        await probe.look()
    (tmp_path / "probe").unlink()
    for _ in range(2):
        await probe.look()
    assert [fault is None for fault in told] == [False, True]


@pytest.mark.timeout(20)
async def test_disk_that_hangs_is_a_fault_until_it_answers(tmp_path: Path) -> None:
    told = asyncio.Event()
    probe = DiskProbe(tmp_path, told.set, patience_s=0.01)
    os.mkfifo(tmp_path / "probe")  # opening it waits for a reader
    looking = asyncio.create_task(probe.look())
    await told.wait()
    assert probe.fault == f"the disk that holds {tmp_path} hangs: see the kernel's log"
    os.close(os.open(tmp_path / "probe", os.O_RDONLY | os.O_NONBLOCK))
    await looking
    (tmp_path / "probe").unlink(missing_ok=True)
    await probe.look()
    assert probe.fault is None
