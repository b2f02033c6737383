from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbcluster.errors import StorageError
from rbcluster.raft import limits, snapshot
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.journal import Entry
from rbcluster.raft.machine import MachineState
from rbcluster.raft.snapshot import Chunk, SnapshotStore
from tests.cluster.ledger import LEDGER, Ledger

Store = SnapshotStore[Ledger, int]
FOLLOWER = PeerNode("b")


def entry(index: int) -> Entry:
    return (b"\x00c", index, 1)


def store_of(path: Path, *commands: bytes) -> Store:
    machine = MachineState(LEDGER)
    for command in commands:
        machine.apply(command)
    return SnapshotStore(path, machine)


def write(store: Store, index: int) -> None:
    store.serialize((None, entry(index), entry(index - 1), {PeerNode("a"), None}), index - 1)


def chunks(store: Store) -> Iterator[Chunk]:
    while chunk := store.getTransmissionData(FOLLOWER):
        yield chunk
        if chunk[2]:
            return


@pytest.fixture
def leader(tmp_path: Path) -> Store:
    store = store_of(tmp_path / "leader", *(bytes(300_000) for _ in range(3)))
    write(store, 9)
    return store


def test_a_snapshot_is_reported_once_and_there_after_reopening(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", b"one", b"two")
    write(store, 5)
    assert [store.checkSerializing()[1], store.checkSerializing()[1]] == [4, None]
    again = store_of(tmp_path / "s")
    assert again.head == (entry(4), entry(5))
    assert again.deserialize() == (None, entry(5), entry(4), (PeerNode("a"),))


def test_the_state_is_adopted_when_pysyncobj_loads_it(tmp_path: Path) -> None:
    write(store_of(tmp_path / "s", b"one"), 5)
    machine = MachineState(LEDGER)
    SnapshotStore(tmp_path / "s", machine).deserialize()
    assert machine.current == (b"one",)


def test_a_transfer_in_chunks_gives_the_follower_the_same_file(
    tmp_path: Path, leader: Store
) -> None:
    follower = store_of(tmp_path / "follower")
    results = [follower.setTransmissionData(chunk) for chunk in chunks(leader)]
    assert len(results) > 3
    assert results == [False] * (len(results) - 1) + [True]
    assert (tmp_path / "follower").read_bytes() == (tmp_path / "leader").read_bytes()


def test_a_cancelled_transfer_begins_anew(leader: Store) -> None:
    first = leader.getTransmissionData(FOLLOWER)
    assert leader.getTransmissionData(FOLLOWER) != first
    leader.cancelTransmisstion(FOLLOWER)  # PySyncObj's own, while the link is full
    assert leader.getTransmissionData(FOLLOWER) != first
    leader.cancel(FOLLOWER)
    assert leader.getTransmissionData(FOLLOWER) == first


def test_a_new_snapshot_restarts_transfers_of_the_old_one(leader: Store) -> None:
    leader.getTransmissionData(FOLLOWER)
    write(leader, 11)
    chunk = leader.getTransmissionData(FOLLOWER)
    assert chunk is not None
    assert chunk[1]


def test_a_damaged_transfer_leaves_the_good_snapshot_in_place(
    tmp_path: Path, leader: Store
) -> None:
    follower = store_of(tmp_path / "follower", b"mine")
    write(follower, 3)
    before = (tmp_path / "follower").read_bytes()
    for i, (data, is_first, is_last) in enumerate(chunks(leader)):
        sent = data[:-1] + b"!" if i == 1 else data
        assert not follower.setTransmissionData((sent, is_first, is_last))
    assert (tmp_path / "follower").read_bytes() == before
    assert follower.head == (entry(2), entry(3))


def test_chunks_whose_beginning_was_lost_are_dropped(tmp_path: Path, leader: Store) -> None:
    follower = store_of(tmp_path / "follower")
    assert not any(follower.setTransmissionData(c) for c in list(chunks(leader))[1:])
    assert not follower.setTransmissionData(None)


def test_a_snapshot_that_is_not_newer_is_dropped(tmp_path: Path, leader: Store) -> None:
    follower = store_of(tmp_path / "follower")
    follower.install_above = 9
    assert not any(follower.setTransmissionData(c) for c in chunks(leader))
    follower.install_above = 8
    assert any(follower.setTransmissionData(c) for c in chunks(leader))


def test_an_endless_snapshot_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_SNAPSHOT_BYTES", 2 * limits.SNAPSHOT_CHUNK_BYTES)
    follower = store_of(tmp_path / "follower")
    chunk = bytes(limits.SNAPSHOT_CHUNK_BYTES)
    answers = [follower.setTransmissionData((chunk, i == 0, False)) for i in range(4)]
    assert not any(answers)
    assert not follower.setTransmissionData((b"", False, True))
    assert not (tmp_path / "follower").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda whole: whole[:-1],
        lambda whole: whole + b"!",
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
        lambda whole: whole[10:],
    ],
    ids=["empty", "cut", "longer", "flipped", "head cut"],
)
def test_a_damaged_file_is_refused_at_start(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    path = tmp_path / "snapshot"
    write(store_of(path, b"one"), 5)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=r"snapshot is damaged .* fetches everything from them"):
        store_of(path)
