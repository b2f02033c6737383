from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.machine import MachineState
from rbcluster.raft.storage import Storage, open_storage
from tests.cluster.ledger import LEDGER, Ledger


def opened(directory: Path, node: str = "a") -> Storage[Ledger, int]:
    return open_storage(directory, NodeId(node), MachineState(LEDGER), sync=True)


def test_a_directory_is_founded_and_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        opened(tmp_path / "raft").close()
    assert sorted(p.name for p in (tmp_path / "raft").iterdir()) == ["journal", "node"]
    assert (tmp_path / "raft").stat().st_mode & 0o777 == 0o700


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(StorageError, match="in use by another process"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_directory_that_lost_its_journal_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "journal").unlink()
    with pytest.raises(StorageError, match=r"journal is damaged \(it is missing"):
        opened(tmp_path)


def test_another_nodes_directory_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(StorageError, match="belongs to node a, not to b"):
        opened(tmp_path, "b")


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/raft can't be used"):
        opened(tmp_path / "file" / "raft")
