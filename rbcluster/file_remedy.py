"""What to do about a file or a folder that the system refuses, in words.

Not here: faults of the Raft storage, after which a node must be started anew (`raft/disk.py`).
"""

from __future__ import annotations

import errno

_IS_FILE = "a file stands where a folder should be: name another path, or move it away"
_REMEDIES = {
    errno.ENOENT: "no file can be made there: name a folder on a disk",
    errno.EEXIST: _IS_FILE,
    errno.ENOTDIR: _IS_FILE,
    errno.EISDIR: "it is a folder: name a file in it, or move it away",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "raise the quota or free space",
    errno.EROFS: "its file system is read-only: name a path on another one",
    errno.EIO: "the disk fails: name a path on a sound one",
}


def remedy_for(error: OSError, *, missing: str | None = None) -> str:
    """Say what to do about a file that can't be read, made or written.

    :param missing: what to do where it does not exist, for a file that is only read.

    >>> remedy_for(PermissionError(errno.EACCES, "Permission denied"))
    'check its owner and mode, and those of the folders above it'
    """
    if missing and error.errno == errno.ENOENT:
        return missing
    default = "check its owner and mode, and those of the folders above it"
    return _REMEDIES.get(error.errno or 0, default)
