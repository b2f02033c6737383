"""A disk in memory that can be stopped, lose power or fail at any call, and then be read again.

It knows what `rbcluster/raft/disk.py` says of disks: a process that is killed loses nothing it
wrote; a power loss keeps what was synced, and of the rest any sectors and the first so many changes
of size and of names. A sync that fails leaves its data in the cache, never to be written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rbcluster.raft.disk import SECTOR_BYTES


class Stopped(BaseException):
    """The process ended here."""


@dataclass
class Inode:
    """A file's content in the cache and on the platter."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    sizes: list[int] = field(default_factory=list)  # since the last sync
    is_dirty: bool = False

    def resize(self, size: int) -> None:
        del self.cached[size:]
        self.cached += bytes(size - len(self.cached))
        self.sizes.append(size)
        self.is_dirty = True

    def write(self, data: bytes, position: int) -> None:
        if position + len(data) > len(self.cached):
            self.resize(position + len(data))
        self.cached[position : position + len(data)] = data
        self.is_dirty = True

    def sync(self) -> None:
        if self.is_dirty:
            self.durable = bytes(self.cached)
        self.forget_changes()

    def forget_changes(self) -> None:
        self.sizes, self.is_dirty = [], False

    def after_power_loss(self, rng: Random) -> Inode:
        if not self.is_dirty:
            return Inode(bytearray(self.durable), self.durable)
        size = rng.choice([len(self.durable), *self.sizes])
        kept = bytearray(self.durable[:size].ljust(size, b"\0"))
        for start in range(0, size, SECTOR_BYTES):
            end = min(start + SECTOR_BYTES, size)
            new = self.cached[start:end]
            if new != kept[start:end] and len(new) == end - start and rng.random() < 0.5:
                kept[start:end] = new
        return Inode(kept, bytes(kept))


Names = dict[Path, Inode]


class ModelDisk:
    """A `Disk`; `at_call` is told of every call that changes something, before it does."""

    def __init__(self) -> None:
        self.names: Names = {}
        self._durable_names: list[Names] = [{}]  # as last synced, and after each change since
        self.num_calls = 0
        self.at_call: Callable[[int, str], None] = lambda _number, _call: None
        self.tear: Random | None = None  # a write that is stopped first writes some sectors

    def begin(self, call: str) -> None:
        self.num_calls += 1
        self.at_call(self.num_calls, call)

    def _renamed(self) -> None:
        self._durable_names.append(dict(self.names))

    # Disk

    def read(self, path: Path) -> bytes:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return bytes(self.names[path].cached)

    def create(self, path: Path) -> ModelFile:
        self.begin("create")
        self.names[path] = Inode()
        self._renamed()
        return ModelFile(self, self.names[path])

    def open(self, path: Path) -> ModelFile:
        return ModelFile(self, self.names[path])

    def rename(self, old: Path, new: Path) -> None:
        self.begin("rename")
        self.names[new] = self.names.pop(old)
        self._renamed()

    def remove(self, path: Path) -> None:
        self.begin("remove")
        self.names.pop(path, None)
        self._renamed()

    def sync_directory(self, _directory: Path) -> None:
        self.begin("sync_directory")
        self._durable_names = [dict(self.names)]

    # What befalls it

    def after_kill(self) -> ModelDisk:
        """What the next process finds after a kill -9: the cache, dirty as it is."""
        other = ModelDisk()
        other.names, other._durable_names = self.names, self._durable_names
        return other

    def after_power_loss(self, rng: Random) -> ModelDisk:
        """One of the disks that may be found after a power loss."""
        other = ModelDisk()
        survivors: dict[int, Inode] = {}
        for path, inode in rng.choice(self._durable_names).items():
            survivor = survivors.setdefault(id(inode), inode.after_power_loss(rng))
            other.names[path] = survivor
        other._durable_names = [dict(other.names)]
        return other


@dataclass
class ModelFile:
    """A `DiskFile`."""

    disk: ModelDisk
    inode: Inode

    def write_at(self, data: bytes, position: int) -> None:
        try:
            self.disk.begin("write")
        except BaseException:
            if self.disk.tear is not None:
                num = self.disk.tear.randrange(len(data) // SECTOR_BYTES + 1)
                self.inode.write(data[: num * SECTOR_BYTES], position)
            raise
        self.inode.write(data, position)

    def resize(self, size: int) -> None:
        self.disk.begin("resize")
        self.inode.resize(size)

    def sync(self) -> None:
        try:
            self.disk.begin("sync")
        except OSError:
            self.inode.forget_changes()
            raise
        self.inode.sync()

    def close(self) -> None:
        pass
