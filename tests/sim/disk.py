"""The disks of the nodes: in memory, with what a power cut or a fault does to them.

What was written and not synced is lost in a power cut, all or part of it, in any order (see
`tests/shared/model_disk.py`). A disk may refuse to be written to (full, failing), in the middle
of a write too.

PySyncObj itself looks whether there is a snapshot; it is shown these disks. Only the lock file is
real, in a directory that the run removes.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from pysyncobj import syncobj

from rbcluster.core.ids import NodeId
from tests.shared.model_disk import ModelDisk, Stopped

FULL, FAILING = errno.ENOSPC, errno.EIO
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made in it


class Disks:
    """All nodes' disks."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self._root = root
        self._rng = rng
        self._disks: dict[NodeId, ModelDisk] = {}
        self._faults: dict[NodeId, int] = {}  # errno of whatever the node writes
        self._fatal: dict[NodeId, tuple[int, Callable[[], None]]] = {}  # see `stop_at`

    def directory(self, node: NodeId) -> Path:
        """Where a node's storage is."""
        return self._root / node.name

    def disk(self, node: NodeId) -> ModelDisk:
        """Return a node's disk as it is now; a new process asks anew."""
        if node not in self._disks:
            self._insert(node, ModelDisk())
        return self._disks[node]

    def _insert(self, node: NodeId, disk: ModelDisk) -> None:
        disk.at_call = lambda _number, _call: self._refuse(node)
        disk.tear = self._rng
        self._disks[node] = disk

    def stop_at(self, node: NodeId, num_writes: int, on_stop: Callable[[], None]) -> None:
        """End the process at a write, in its middle; before, so many get through."""
        self._fatal[node] = num_writes, on_stop

    def spare(self, node: NodeId) -> None:
        """Take `stop_at` back, unless it has happened."""
        if node in self._fatal and self._fatal[node][0] >= 0:
            del self._fatal[node]

    def _refuse(self, node: NodeId) -> None:
        if node in self._fatal:
            left, on_stop = self._fatal[node]
            self._fatal[node] = left - 1, on_stop
            if left == 0:  # this write is torn; should the process go on a little, none is begun
                on_stop()
            elif left < 0:
                self._disks[node].tear = None
            if left <= 0:
                raise Stopped
        code = self._faults.get(node)
        if code is not None:
            raise OSError(code, os.strerror(code))

    def fail(self, node: NodeId, code: int) -> None:
        """Refuse writes from now on, after a part of the next one."""
        self._faults[node] = code

    def mend(self, node: NodeId) -> None:
        """Take writes again."""
        self._faults.pop(node, None)

    def fault(self, node: NodeId) -> str | None:
        """Say what is wrong with a disk."""
        code = self._faults.get(node)
        return None if code is None else os.strerror(code)

    def kill(self, node: NodeId) -> None:
        """Let a process end: what it wrote is there, but no longer its own to change."""
        self._fatal.pop(node, None)
        dead = self.disk(node)
        self._insert(node, dead.after_kill())
        dead.at_call, dead.tear = _stop, None

    def cut_power(self, node: NodeId) -> None:
        """Lose what was not synced, or a part of it."""
        self._insert(node, self.disk(node).after_power_loss(self._rng))

    def wipe(self, node: NodeId) -> None:
        """Lose everything."""
        self._insert(node, ModelDisk())

    def holds(self, path: str) -> bool:
        """Tell whether a file is on the disk that its directory stands for."""
        disk = self._disks.get(NodeId(Path(path).parent.name))
        return disk is not None and Path(path) in disk.names


def _stop(_number: int, _call: str) -> None:
    raise Stopped


@contextmanager
def disks(rng: random.Random) -> Iterator[Disks]:
    """Make disks for one run."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rbcluster-sim-", dir=memory) as root:
        made = Disks(Path(root), rng)
        shown = SimpleNamespace(path=SimpleNamespace(isfile=made.holds))
        with mock.patch.object(syncobj, "os", shown):
            yield made
