"""What the storage asks of a file system: few calls, so that a test can stand in for each of them.

What is relied on, of Linux and of disks (ext4, xfs, btrfs and tmpfs give it):

- a sector of 512 bytes, at a multiple of 512, is written whole or not at all;
- a rename, and a change of a file's size, happen whole or not at all;
- what `DiskFile.sync` or `Disk.sync_directory` has returned for survives a power loss. What was
  written since may survive in part, in any order. A kill -9 loses nothing that was written.

Overview::

    Disk, DiskFile     the calls; POSIX_DISK makes them
    blaming(path)      turns an OSError into a StorageError that names file, fault and remedy
    read_file          the whole file, or None
    replace_file       old or new content after a crash, never a mixture
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from rbcluster.errors import StorageError

SECTOR_BYTES = 512

_AGAIN = "then start the node again"
_REMEDIES = {
    errno.ENOSPC: f"free space on that disk, {_AGAIN}",
    errno.EDQUOT: f"raise the quota or free space, {_AGAIN}",
    errno.EIO: (
        "the disk fails: put the data directory on a sound one, run `rbcluster reset-node`, "
        "and start the node again"
    ),
    errno.EROFS: f"the file system is read-only, as after a fault: check the disk, {_AGAIN}",
}


class DiskFile(Protocol):
    """An open file. Every call may raise OSError."""

    def write_at(self, data: bytes, position: int) -> None:
        """Write all of it."""

    def resize(self, size: int) -> None:
        """Cut the file, or let it grow by zeros."""

    def sync(self) -> None:
        """Wait until content and size are on the disk."""

    def close(self) -> None:
        """Let go of it."""


class Disk(Protocol):
    """A file system. Every call may raise OSError."""

    def read(self, path: Path) -> bytes:
        """Read a whole file; FileNotFoundError if there is none."""

    def create(self, path: Path) -> DiskFile:
        """Open an empty file of mode 0600, in place of any that is there."""

    def open(self, path: Path) -> DiskFile:
        """Open a file that is there, for writing."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file the name of another, which is gone then."""

    def remove(self, path: Path) -> None:
        """Remove a file."""

    def sync_directory(self, directory: Path) -> None:
        """Wait until the names in a directory are on the disk."""


class PosixFile:
    """A file of the operating system."""

    def __init__(self, path: Path, flags: int) -> None:
        self._descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write_at(self, data: bytes, position: int) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            written = os.pwrite(self._descriptor, left, position)
            left, position = left[written:], position + written

    def resize(self, size: int) -> None:
        """Cut the file, or let it grow by zeros."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Wait until content and size are on the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class PosixDisk:
    """The file system of the operating system."""

    def read(self, path: Path) -> bytes:
        """Read a whole file."""
        return path.read_bytes()

    def create(self, path: Path) -> DiskFile:
        """Open an empty file."""
        return PosixFile(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def open(self, path: Path) -> DiskFile:
        """Open a file that is there."""
        return PosixFile(path, os.O_WRONLY)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file the name of another."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """Wait until the names in a directory are on the disk."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


POSIX_DISK: Disk = PosixDisk()


@contextmanager
def blaming(path: Path, *, doing: str = "written") -> Iterator[None]:
    """Turn a fault of the disk into words.

    :raises StorageError: instead of OSError; it names file, fault and remedy.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, f"check its owner, mode and disk, {_AGAIN}")
        raise StorageError(f"{path} can't be {doing} ({error.strerror}): {remedy}") from error


def read_file(disk: Disk, path: Path) -> bytes | None:
    """Read a whole file, or return None if there is none.

    :raises StorageError: if it can't be read.
    """
    with blaming(path, doing="read"):
        try:
            return disk.read(path)
        except FileNotFoundError:
            return None


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Put a file in place so that after a power loss either the old or the new one is there, whole.

    :raises StorageError: if it can't be written. The old one is there then, or the new one.
    """
    temporary = path.with_name(path.name + ".new")
    with blaming(path):
        try:
            with closing(disk.create(temporary)) as file:
                file.write_at(data, 0)
                file.sync()
            disk.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                disk.remove(temporary)  # on a full disk it may be what takes the space
            raise
        disk.sync_directory(path.parent)
