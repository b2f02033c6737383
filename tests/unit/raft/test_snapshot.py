from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId
from rbcluster.errors import SchemaError, StorageError
from rbcluster.raft import limits, snapshot
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.log_content import Entry
from rbcluster.raft.machine import MachineState
from rbcluster.raft.records import encode_record
from rbcluster.raft.snapshot import Chunk, SnapshotStore
from tests.shared.ledger import LEDGER, Ledger

Store = SnapshotStore[Ledger, int]
FOLLOWER = PeerNode("b")
CLUSTER, OTHER = ClusterId(bytes(16)), ClusterId(b"o" * 16)


def entry(index: int) -> Entry:
    return (b"\x00c", index, 1)


def store_of(path: Path, *commands: bytes) -> Store:
    machine = MachineState(LEDGER)
    for command in commands:
        machine.apply(command)
    return SnapshotStore(path, machine, CLUSTER)


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
    SnapshotStore(tmp_path / "s", machine, CLUSTER).deserialize()
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


@pytest.fixture(name="whole", scope="module")
def whole_snapshot(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("s") / "snapshot"
    write(store_of(path, b"one"), 5)
    return path.read_bytes()


def test_every_changed_byte_and_every_cut_is_refused_at_start(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "snapshot"
    damages = [whole[:length] for length in range(len(whole))]
    damages += [
        whole[:position] + bytes([changed]) + whole[position + 1 :]
        for position, byte in enumerate(whole)
        for changed in {byte ^ 1, byte ^ 0x80, 0} - {byte}
    ]
    for damage in [*damages, whole + b"!", whole + bytes(500), whole[10:]]:
        path.write_bytes(damage)
        with pytest.raises(StorageError, match=r"snapshot is damaged .* `rbcluster reset-node`"):
            store_of(path)


def test_another_clusters_snapshot_is_refused_from_disk_and_from_a_leader(
    tmp_path: Path, leader: Store
) -> None:
    foreign = SnapshotStore(tmp_path / "foreign", MachineState(LEDGER), OTHER)
    assert not any(foreign.setTransmissionData(chunk) for chunk in chunks(leader))
    with pytest.raises(StorageError, match=f"belongs to cluster {'00' * 16}, not to {OTHER}"):
        SnapshotStore(tmp_path / "leader", MachineState(LEDGER), OTHER)


def test_another_releases_snapshot_is_refused_by_its_format(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(encode_record(("rbcluster snapshot", 2, "whatever")))
    with pytest.raises(StorageError, match="of format 2, and this rbcluster reads format 1"):
        store_of(tmp_path / "s")


def test_a_state_of_a_newer_release_is_no_damage_but_stops_the_node(
    tmp_path: Path, leader: Store
) -> None:
    def decode(_data: bytes) -> Ledger:
        raise SchemaError("the snapshot is of schema 2")

    older = MachineState(replace(LEDGER, decode=decode))
    with pytest.raises(SchemaError, match="schema 2"):
        SnapshotStore(tmp_path / "leader", older, CLUSTER)
    follower = SnapshotStore(tmp_path / "follower", older, CLUSTER)
    with pytest.raises(SchemaError, match="schema 2"):
        list(map(follower.setTransmissionData, chunks(leader)))
    assert not (tmp_path / "follower").exists()
