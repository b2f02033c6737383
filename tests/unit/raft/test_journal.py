from __future__ import annotations

from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.errors import StorageError
from rbcluster.raft import codec
from rbcluster.raft.batches import encode_batch, file_size
from rbcluster.raft.journal import Journal, read_journal
from rbcluster.raft.log_content import Entry, LogContent, Record
from rbcluster.raft.storage_identity import StorageIdentity

OWNER = StorageIdentity(
    cluster=ClusterId(b"c" * 16), node=NodeId("a"), incarnation=Incarnation(b"i" * 16)
)
HEADER: Record = ("rbcluster journal", 1, OWNER.to_wire())


def entry(index: int, term: int = 1) -> Entry:
    return (b"\x00command %d" % index, index, term)


def opened(path: Path) -> Journal:
    return Journal(path, read_journal(path, OWNER) or LogContent(OWNER), sync=True)


def filled(path: Path, num: int = 5) -> Journal:
    """Write a journal of some entries and a vote, a batch each."""
    journal = opened(path)
    journal.setCurrentTerm(1, "b")
    for index in range(1, num + 1):
        journal.add(*entry(index))
        journal.flush()
    return journal


def held(path: Path) -> list[Entry]:
    content = read_journal(path, OWNER)
    assert content is not None
    return content.entries


def write(path: Path, *batches: object) -> None:
    used = b"".join(
        encode_batch(number, codec.dumps(records))
        for number, records in enumerate(batches, start=1)
    )
    path.write_bytes(used.ljust(file_size(len(used)), b"\0"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_entries_term_and_vote_are_there_after_reopening(path: Path) -> None:
    filled(path).close()
    journal = opened(path)
    assert list(journal[:]) == [entry(i) for i in range(1, 6)]
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (1, "b")
    assert journal.owner == OWNER
    journal.close()


def test_what_was_not_flushed_is_not_there_after_a_crash(path: Path) -> None:
    journal = opened(path)
    journal.add(*entry(1))
    journal.flush()
    journal.add(*entry(2))
    journal.setCurrentTerm(7, "c")
    assert held(path) == [entry(1)]
    journal.close()


def test_a_conflicting_entry_replaces_it_and_all_that_follow(path: Path) -> None:
    journal = filled(path)
    journal.add(*entry(3, term=2))
    journal.flush()
    journal.close()
    assert held(path) == [entry(1), entry(2), entry(3, term=2)]


def test_an_entry_sent_again_does_not_undo_those_acknowledged_since(path: Path) -> None:
    journal = filled(path)
    before = path.read_bytes()
    journal.deleteEntriesFrom(2)  # what PySyncObj does at every append_entries
    journal.add(*entry(3))
    journal.flush()
    journal.close()
    assert held(path) == [entry(i) for i in range(1, 6)]
    assert path.read_bytes() == before


def test_compaction_keeps_the_tail_the_term_and_the_vote(path: Path) -> None:
    journal = filled(path, num=50)
    whole = journal.size_bytes
    journal.deleteEntriesTo(48)
    journal.add(*entry(51))
    journal.flush()
    assert journal.size_bytes < whole / 10
    journal.close()
    again = opened(path)
    assert list(again[:]) == [entry(49), entry(50), entry(51)]
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (1, "b")
    again.close()


def test_a_torn_batch_is_dropped_and_said_and_the_file_can_be_continued(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = filled(path, num=2)
    torn_at = journal.size_bytes
    journal.add(b"\0" + bytes(1000), 3, 1)
    journal.flush()
    journal.close()
    data = bytearray(path.read_bytes())
    data[torn_at + 512 : torn_at + 1024] = bytes(512)
    path.write_bytes(data)
    journal = opened(path)
    assert list(journal[:]) == [entry(1), entry(2)]
    assert f"{path} ends, at byte {torn_at}, in a batch that a crash tore" in caplog.text
    journal.add(*entry(3))
    journal.flush()
    journal.close()
    assert held(path) == [entry(1), entry(2), entry(3)]


def test_reading_changes_nothing(path: Path) -> None:
    filled(path).close()
    before = path.read_bytes()
    held(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "batches",
    [
        ([HEADER], [("entry", 9, 1, b"\x00x"), ("entry", 11, 1, b"\x00a gap before it")]),
        ([HEADER, ("something", 1)],),
        ([HEADER, ("vote", 5, "a")], [("vote", 4, "a")]),
        ([HEADER], [HEADER]),
        ([("vote", 5, "a")],),
        ([],),
        ("words",),
        ([("rbcluster journal", 1, (b"short", "a", b"i" * 16))],),
    ],
    ids=["gap", "unknown", "term falls", "twice", "headless", "empty", "no records", "no owner"],
)
def test_records_that_make_no_journal_are_damage(path: Path, batches: tuple[object, ...]) -> None:
    write(path, *batches)
    with pytest.raises(StorageError, match=r"journal is damaged .* `rbcluster reset-node`"):
        read_journal(path, OWNER)


def test_a_batch_that_is_no_value_is_damage(path: Path) -> None:
    path.write_bytes(encode_batch(1, b"\xc1").ljust(file_size(512), b"\0"))
    with pytest.raises(StorageError, match="a batch holds no records"):
        read_journal(path, OWNER)


def test_another_releases_journal_is_refused_by_its_format(path: Path) -> None:
    write(path, [("rbcluster journal", 2, "whatever")])
    with pytest.raises(StorageError, match="of format 2, and this rbcluster reads format 1"):
        read_journal(path, OWNER)


@pytest.mark.parametrize(
    ("cluster", "node", "complaint"),
    [
        (b"d" * 16, "a", f"belongs to cluster {'63' * 16}, not to {'64' * 16}"),
        (b"c" * 16, "b", "belongs to node a, not to b"),
    ],
)
def test_anothers_journal_is_refused(path: Path, cluster: bytes, node: str, complaint: str) -> None:
    filled(path).close()
    owner = StorageIdentity(
        cluster=ClusterId(cluster), node=NodeId(node), incarnation=OWNER.incarnation
    )
    with pytest.raises(StorageError, match=complaint):
        read_journal(path, owner)


def test_a_crash_between_snapshot_and_trimming_loses_no_entry(path: Path) -> None:
    content = LogContent(OWNER, entries=[entry(i) for i in range(1, 11)])
    content.reconcile((entry(6), entry(7)), path)
    assert content.entries == [entry(i) for i in range(6, 11)]


@pytest.mark.parametrize("num", [0, 3, 7])
def test_a_crash_between_receiving_a_snapshot_and_clearing_ends_at_the_snapshot(
    path: Path, num: int
) -> None:
    content = LogContent(OWNER, 1, "b", [entry(i) for i in range(1, num + 1)])
    head = entry(6, term=4), entry(7, term=4)
    content.reconcile(head, path)
    assert content.entries == list(head)
    journal = Journal(path, content, sync=True)
    assert journal.getRaftCommitIndex() == 7
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (1, "b")
    journal.close()


@pytest.mark.parametrize("head", [None, (entry(1), entry(2))])
def test_a_missing_or_older_snapshot_is_refused(
    path: Path, head: tuple[Entry, Entry] | None
) -> None:
    content = LogContent(OWNER, entries=[entry(i) for i in range(6, 11)])
    with pytest.raises(StorageError, match="snapshot"):
        content.reconcile(head, path)
