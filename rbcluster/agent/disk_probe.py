"""Whether the disk that holds the journal still takes a write, before the journal needs it.

A leader whose disk is nearly full, read-only or hanging hands over while it still can, and no node
with such a disk is chosen as its successor. A small file is written, flushed and removed, for a
full disk accepts what overwrites old blocks.

Not here: what happens when the journal itself meets a fault (`raft/`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

PROBE_EVERY_S = 5.0
PATIENCE_S = 2.0  # a disk that is silent for longer would stop the journal for as long
MIN_FREE_BYTES = 16 * 2**20  # for some journal and a snapshot
PROBE_BYTES = 4_096


class DiskProbe:
    """Writes to one directory now and then, off the loop.

    :param on_change: called when `fault` has changed.
    """

    def __init__(
        self, directory: Path, on_change: Callable[[], None], *, patience_s: float = PATIENCE_S
    ) -> None:
        self.fault: str | None = None  # a sentence; None: the last write went well
        self._directory = directory
        self._on_change = on_change
        self._patience_s = patience_s

    async def run(self) -> NoReturn:
        """Probe for ever."""
        while True:
            await self.look()
            await asyncio.sleep(PROBE_EVERY_S)

    async def look(self) -> None:
        """Probe once; returns when the disk has answered, however late."""
        probing = asyncio.create_task(asyncio.to_thread(find_disk_fault, self._directory))
        done, _ = await asyncio.wait([probing], timeout=self._patience_s)
        if not done:
            self._tell(f"the disk that holds {self._directory} hangs: see the kernel's log")
        self._tell(await probing)

    def _tell(self, fault: str | None) -> None:
        if fault != self.fault:
            self.fault = fault
            self._on_change()


def find_disk_fault(directory: Path, min_free_bytes: int = MIN_FREE_BYTES) -> str | None:
    """Write to a directory; blocks. Say what is wrong in a sentence, None if all is well."""
    probe = directory / "probe"
    try:
        disk = os.statvfs(directory)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < min_free_bytes:
            return (
                f"the disk that holds {directory} is nearly full ({free_bytes // 2**20} MiB left): "
                "make room"
            )
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        return f"{directory} can't be written ({error.strerror}): see to its disk, owner and mode"
    return None
