from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbcluster.core.ids import NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.journal import Entry, Journal
from rbcluster.raft.records import decode_records, encode_record

NODE = NodeId("a")


def entry(index: int, term: int = 1) -> Entry:
    return (b"\x00command %d" % index, index, term)


def opened(path: Path, node: NodeId = NODE) -> Journal:
    return Journal(path, node, sync=True)


def filled(path: Path, num: int = 5) -> bytes:
    """Write a journal of some entries and a vote; return the file."""
    journal = opened(path)
    journal.setCurrentTerm(1, "b")
    for index in range(1, num + 1):
        journal.add(*entry(index))
    journal.flush()
    journal.close()
    return path.read_bytes()


def reopened(path: Path) -> list[Entry]:
    journal = opened(path)
    journal.close()
    return list(journal[:])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_entries_term_and_vote_are_there_after_reopening(path: Path) -> None:
    filled(path)
    journal = opened(path)
    assert list(journal[:]) == [entry(i) for i in range(1, 6)]
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (1, "b")
    journal.close()


def test_what_was_not_flushed_is_not_there_after_a_crash(path: Path) -> None:
    journal = opened(path)
    journal.add(*entry(1))
    journal.flush()
    journal.add(*entry(2))
    journal.setCurrentTerm(7, "c")
    assert reopened(path) == [entry(1)]
    journal.close()


def test_a_conflicting_entry_replaces_it_and_all_that_follow(path: Path) -> None:
    filled(path)
    journal = opened(path)
    journal.add(*entry(3, term=2))
    journal.flush()
    journal.close()
    assert reopened(path) == [entry(1), entry(2), entry(3, term=2)]


def test_an_entry_sent_again_does_not_undo_those_acknowledged_since(path: Path) -> None:
    before = filled(path)
    journal = opened(path)
    journal.deleteEntriesFrom(2)  # what PySyncObj does at every append_entries
    journal.add(*entry(3))
    journal.flush()
    journal.close()
    assert reopened(path) == [entry(i) for i in range(1, 6)]
    assert path.read_bytes() == before


def test_compaction_keeps_the_tail_the_term_and_the_vote(path: Path) -> None:
    whole = filled(path, num=50)
    journal = opened(path)
    journal.deleteEntriesTo(48)
    journal.add(*entry(51))
    journal.flush()
    assert journal.size_bytes == path.stat().st_size < len(whole)
    journal.close()
    again = opened(path)
    assert list(again[:]) == [entry(49), entry(50), entry(51)]
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (1, "b")
    again.close()


def test_every_cut_leaves_a_prefix_and_the_file_can_be_continued(path: Path) -> None:
    whole = filled(path, num=3)
    _, start = decode_records(whole[:60], path)
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        held = reopened(path)
        assert held == [entry(i) for i in range(1, len(held) + 1)]
    journal = opened(path)
    assert list(journal[:]) == [entry(1), entry(2)]
    journal.add(*entry(3))
    journal.flush()
    journal.close()
    assert reopened(path) == [entry(1), entry(2), entry(3)]


def test_a_file_that_grew_before_its_content_was_written_is_a_torn_tail(path: Path) -> None:
    path.write_bytes(filled(path) + bytes(500))
    assert len(reopened(path)) == 5


@settings(max_examples=60)
@given(st.data())
def test_every_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):  # type: ignore[no-untyped-def]  # noqa: ANN201
    path = tmp_path_factory.mktemp("flip") / "journal"
    whole = bytearray(filled(path))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    with pytest.raises(StorageError, match=r"journal is damaged .* move .* away"):
        opened(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda whole: whole[:100] + whole[140:],
        lambda whole: whole[:100] + bytes(40) + whole[140:],
        lambda whole: whole[40:],
        lambda whole: whole + encode_record(("entry", 9, 1, b"\x00a gap before it")),
        lambda whole: whole + encode_record(("something", 1)),
    ],
    ids=["empty", "middle cut", "middle zeroed", "head cut", "gap", "unknown record"],
)
def test_damage_is_refused_with_file_and_remedy(path: Path, damage) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    path.write_bytes(damage(filled(path)))
    with pytest.raises(StorageError, match=r"journal is damaged .* fetches everything from them"):
        opened(path)


def test_another_nodes_journal_is_refused(path: Path) -> None:
    filled(path)
    with pytest.raises(StorageError, match="belongs to node a, not to b"):
        opened(path, NodeId("b"))


def test_a_crash_between_snapshot_and_trimming_loses_no_entry(path: Path) -> None:
    filled(path, num=10)
    journal = opened(path)
    journal.reconcile((entry(6), entry(7)))
    journal.close()
    assert reopened(path) == [entry(6), entry(7), entry(8), entry(9), entry(10)]


@pytest.mark.parametrize("held", [0, 3, 7])
def test_a_crash_between_receiving_a_snapshot_and_clearing_ends_at_the_snapshot(
    path: Path, held: int
) -> None:
    filled(path, num=held)
    journal = opened(path)
    journal.reconcile((entry(6, term=4), entry(7, term=4)))
    assert journal.getRaftCommitIndex() == 7
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (1, "b")
    journal.close()
    assert reopened(path) == [entry(6, term=4), entry(7, term=4)]


@pytest.mark.parametrize("head", [None, (entry(1), entry(2))])
def test_a_missing_or_older_snapshot_is_refused(
    path: Path, head: tuple[Entry, Entry] | None
) -> None:
    filled(path, num=10)
    journal = opened(path)
    journal.deleteEntriesTo(5)
    with pytest.raises(StorageError, match="snapshot"):
        journal.reconcile(head)
    journal.close()
