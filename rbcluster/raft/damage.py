"""The words for a storage that can't be trusted: which file, where, what to do."""

from __future__ import annotations

from pathlib import Path

from rbcluster.errors import StorageError


def damaged(path: Path, found: str) -> StorageError:
    """Make the error for a file whose content is not what was written."""
    return StorageError(
        f"{path} is damaged ({found}): this node does not vote with it; run `rbcluster reset-node` "
        "while a majority of the other nodes is up, and it fetches everything from them"
    )


def foreign(path: Path, difference: str) -> StorageError:
    """Make the error for a storage of another node or cluster."""
    return StorageError(
        f"{path} {difference}: each node needs a data directory of its own, "
        "and no copy of another's takes its place"
    )


def unknown_format(path: Path, found: object, known: int) -> StorageError:
    """Make the error for a file that another release wrote."""
    return StorageError(
        f"{path} is of format {found}, and this rbcluster reads format {known}: "
        "start the release that wrote it"
    )
