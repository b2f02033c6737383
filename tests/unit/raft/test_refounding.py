"""What a storage knows, and the storage that a new cluster begins with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.errors import StorageError, StorageInUseError
from rbcluster.raft.configuration import encode_entry
from rbcluster.raft.machine import MachineState
from rbcluster.raft.refounding import Remains, read_remains, refound
from rbcluster.raft.storage import had_another_before, open_storage
from tests.shared.ledger import LEDGER, Ledger
from tests.unit.raft.bench import B, Bench, entry, place

NEW = ClusterId(b"n" * 16)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SEEN = (b"2/1", b"3/1", b"members", b"5/2")


@pytest.fixture(name="directory")
def a_used_storage(tmp_path: Path) -> Path:
    """Committed up to 3, of which 2 are in the snapshot; then two entries that may be."""
    directory = tmp_path / "raft"
    bench = Bench(directory)
    bench.append((1, 0), entry(2), commit=2)
    bench.replica.forceLogCompaction()
    bench.replica.tick()
    voters = encode_entry({NodeId("b"): None}, b"members")
    bench.append((2, 1), entry(3), (voters, 4, 1), entry(5, 2), commit=3, term=2)
    assert bench.state() == SEEN[:2]
    bench.replica.receive(B, {"type": "request_vote", "term": 7, **_NEWEST})
    bench.storage.close()
    return directory


_NEWEST = {"last_log_index": 99, "last_log_term": 6}


def begun(state: Ledger, incarnation: Incarnation) -> Ledger:
    return (*state, incarnation.raw)


def refounded(directory: Path) -> Path:
    return refound(place(directory), MachineState(LEDGER), NEW, begun, NOW)


def test_all_that_the_log_holds_is_known_committed_or_not(directory: Path) -> None:
    remains = read_remains(place(directory), MachineState(LEDGER))
    assert remains == Remains(state=SEEN, term=7, last_index=5, last_term=2)


def test_the_new_storage_holds_it_as_another_cluster_and_another_voter(directory: Path) -> None:
    old = (directory / "journal").read_bytes()
    aside = refounded(directory)
    assert (aside / "journal").read_bytes() == old
    machine = MachineState(LEDGER)
    storage = open_storage(replace(place(directory), cluster=NEW), machine)
    storage.close()
    assert storage.snapshots.state == (*SEEN, storage.owner.incarnation.raw)
    assert [entry[1:] for entry in storage.journal[:]] == [(4, 2), (5, 2)]
    assert (storage.journal.getCurrentTerm(), storage.journal.getVotedForNodeId()) == (7, None)
    assert sorted(path.name for path in directory.parent.iterdir()) == ["raft", aside.name]
    assert had_another_before(directory)
    with pytest.raises(StorageError, match="belongs to cluster"):
        open_storage(place(directory), machine)


def test_the_log_goes_on_and_says_nothing_of_those_who_voted(directory: Path) -> None:
    refounded(directory)
    bench = Bench(directory, cluster=NEW, voters="a")
    bench.replica.stand_alone()
    for _ in range(3):
        bench.replica.tick()
    assert bench.replica.is_leader()
    assert (bench.replica.raftCurrentTerm, bench.replica.raftCommitIndex) == (8, 6)
    assert set(bench.replica.configuration()) == {NodeId("a")}
    assert bench.replica.configured_as_of() == 5  # so peers that come clean take its word
    bench.storage.close()


def test_a_storage_that_was_hardly_used_makes_a_sound_one(tmp_path: Path) -> None:
    open_storage(place(tmp_path / "raft"), MachineState(LEDGER)).close()
    refounded(tmp_path / "raft")
    Bench(tmp_path / "raft", cluster=NEW, voters="a").storage.close()


def test_an_attempt_that_was_interrupted_is_begun_anew(directory: Path) -> None:
    (directory.parent / "raft.new").mkdir()
    (directory.parent / "raft.new" / "snapshot").write_text("half")
    refounded(directory)
    assert not (directory.parent / "raft.new").exists()


def test_a_storage_in_use_or_none_or_a_damaged_one_is_refused(directory: Path) -> None:
    storage = open_storage(place(directory), MachineState(LEDGER))
    with pytest.raises(StorageInUseError):
        refounded(directory)
    storage.close()
    with pytest.raises(StorageError, match="there is nothing to begin from"):
        read_remains(place(directory / "none"), MachineState(LEDGER))
    (directory / "journal").write_bytes(b"x")
    with pytest.raises(StorageError, match="damaged"):
        refounded(directory)
    assert not had_another_before(directory)
