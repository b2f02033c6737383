from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.machine import MachineState
from rbcluster.raft.records import encode_record
from rbcluster.raft.storage import Storage, StoragePlace, check_storage, open_storage, set_aside
from tests.shared.ledger import LEDGER, Ledger

CLUSTER = ClusterId(b"c" * 16)


def place(directory: Path, node: str = "a") -> StoragePlace:
    return StoragePlace(directory=directory, cluster=CLUSTER, node=NodeId(node))


def opened(directory: Path, node: str = "a") -> Storage[Ledger, int]:
    return open_storage(place(directory, node), MachineState(LEDGER))


def test_a_directory_is_founded_and_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        opened(tmp_path / "raft").close()
    assert sorted(p.name for p in (tmp_path / "raft").iterdir()) == ["journal", "lock", "node"]
    assert (tmp_path / "raft").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "raft").iterdir()} == {0o600}


def test_a_storage_knows_its_cluster_node_and_incarnation_all_its_life(tmp_path: Path) -> None:
    owners = []
    for directory in ("one", "one", "other"):
        storage = opened(tmp_path / directory)
        owners.append(storage.owner)
        storage.close()
    assert owners[0] == owners[1]
    assert (owners[0].cluster, owners[0].node) == (CLUSTER, NodeId("a"))
    assert owners[0].incarnation != owners[2].incarnation


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(StorageError, match="in use by another process"):
        opened(tmp_path)
    with pytest.raises(StorageError, match="in use by another process"):
        set_aside(tmp_path, datetime.now(UTC))
    first.close()
    opened(tmp_path).close()


def test_a_directory_that_lost_its_journal_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "journal").unlink()
    with pytest.raises(StorageError, match=r"journal is damaged \(it is missing"):
        opened(tmp_path)


def test_a_founding_that_was_cut_short_is_ended_at_the_next_start(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.close()
    (tmp_path / "node").unlink()
    again = opened(tmp_path)
    again.close()
    assert again.owner == storage.owner
    assert (tmp_path / "node").exists()


def test_another_nodes_or_clusters_directory_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(StorageError, match="belongs to node a, not to b"):
        opened(tmp_path, "b")
    other = replace(place(tmp_path), cluster=ClusterId(b"d" * 16))
    with pytest.raises(StorageError, match="belongs to cluster 6363"):
        open_storage(other, MachineState(LEDGER))


def test_a_journal_of_another_life_of_the_node_is_refused(tmp_path: Path) -> None:
    for life in ("first", "second"):
        opened(tmp_path / life).close()
    shutil.copy(tmp_path / "first" / "journal", tmp_path / "second" / "journal")
    with pytest.raises(StorageError, match="journal is of another life of this node"):
        opened(tmp_path / "second")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a\n", "node is damaged"),
        (encode_record(("rbcluster node", 1, ("a",))), "it does not say whose it is"),
        (encode_record(("words",)), "does not say whose storage"),
        (encode_record(("rbcluster node", 2, "x")), "format 2, and this rbcluster reads format 1"),
    ],
)
def test_a_mark_that_is_none_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    opened(tmp_path).close()
    (tmp_path / "node").write_bytes(content)
    with pytest.raises(StorageError, match=complaint):
        opened(tmp_path)


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/raft can't be used"):
        opened(tmp_path / "file" / "raft")


def test_checking_finds_what_opening_would_and_changes_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    check_storage(place(tmp_path), MachineState(LEDGER))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "journal").write_bytes(b"")
    with pytest.raises(StorageError, match="journal is damaged"):
        check_storage(place(tmp_path), MachineState(LEDGER))


def test_a_storage_set_aside_is_kept_and_the_next_one_is_another(tmp_path: Path) -> None:
    directory = tmp_path / "raft"
    storage = opened(directory)
    storage.close()
    aside = set_aside(directory, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert aside == tmp_path / "raft.set-aside-20260102T030405Z"
    assert not directory.exists()
    again = opened(directory)
    again.close()
    assert again.owner.incarnation != storage.owner.incarnation
    old = opened(aside)
    old.close()
    assert old.owner == storage.owner


def test_a_storage_set_aside_never_takes_the_place_of_another(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    for _ in range(2):
        opened(tmp_path / "raft").close()
        try:
            set_aside(tmp_path / "raft", at)
        except StorageError as error:
            assert "can't be set aside (Directory not empty)" in str(error)  # noqa: PT017
            return
    pytest.fail("the second one replaced the first")
