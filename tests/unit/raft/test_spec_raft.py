"""Sentences of the Raft paper that no other test states: each quoted, then held against our code.

Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm (extended version). The
quotes are of its figures 2 and 3 and its sections 5 and 8.
"""

from __future__ import annotations

import pytest

from rbcluster.raft.codec import PeerNode
from rbcluster.raft.messages import Message
from tests.unit.raft.bench import PEERS, B, Bench, C, entry


def ask_for_vote(term: int, last_index: int, last_term: int) -> Message:
    return {
        "type": "request_vote",
        "term": term,
        "last_log_index": last_index,
        "last_log_term": last_term,
    }


def votes(bench: Bench) -> list[tuple[PeerNode, object]]:
    """List whom the replica gave its vote, and in which term."""
    return [(to, m["term"]) for to, m in bench.sent if m["type"] == "response_vote"]


def log(bench: Bench) -> list[tuple[int, int]]:
    """List index and term of what the log holds."""
    journal = bench.storage.journal
    return [(index, term) for _, index, term in (journal[i] for i in range(len(journal)))]


def elect(bench: Bench) -> int:
    """Make the replica the leader; return the term."""
    bench.stand()
    term = bench.replica.raftCurrentTerm
    for peer in (B, C):
        bench.replica.receive(peer, {"type": "response_vote", "term": term})
    assert bench.replica.is_leader()
    bench.replica.tick()
    return term


def acknowledge(bench: Bench, up_to: int) -> None:
    """Let a majority hold all entries up to an index."""
    for peer in (B, C):
        bench.replica.receive(
            peer,
            {"type": "next_node_idx", "next_node_idx": up_to + 1, "reset": False, "success": True},
        )
    bench.replica.tick()


def test_entries_of_a_deposed_leader_are_refused(bench: Bench) -> None:
    """Figure 2, AppendEntries: "Reply false if term < currentTerm"."""
    bench.append((1, 0), entry(2, 5), commit=1, term=5)
    before = log(bench)
    bench.append((2, 5), entry(3, 4), commit=3, term=4)
    assert log(bench) == before
    assert bench.state() == ()


def test_entries_beyond_a_gap_are_refused_and_the_leader_learns_it(bench: Bench) -> None:
    """Figure 2, AppendEntries: "Reply false if log doesn't contain an entry at prevLogIndex"."""
    before = log(bench)
    bench.append((7, 1), entry(8), commit=8)
    assert log(bench) == before
    reply = bench.sent[-1][1]
    assert (reply["type"], reply["success"]) == ("next_node_idx", False)


def test_entries_after_one_of_another_term_are_refused(bench: Bench) -> None:
    """Figure 2, AppendEntries: "... at prevLogIndex whose term matches prevLogTerm"."""
    bench.append((1, 0), entry(2, 1), entry(3, 1), commit=1)
    bench.append((3, 2), entry(4, 2), commit=1, term=2)
    assert (4, 2) not in log(bench)
    assert bench.sent[-1][1]["success"] is False


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (2, 3, True), (4, 2, True), (2, 2, False), (9, 1, False)],
)
def test_a_vote_goes_only_to_one_who_has_all_that_may_be_committed(
    bench: Bench, last_index: int, last_term: int, *, granted: bool
) -> None:
    """5.4.1: "the voter denies its vote if its own log is more up-to-date"."""
    bench.append((1, 0), entry(2, 1), entry(3, 2), commit=1, term=2)
    bench.replica.receive(C, ask_for_vote(3, last_index, last_term))
    assert votes(bench) == ([(C, 3)] if granted else [])


def test_of_two_candidates_of_a_term_the_first_to_ask_gets_the_vote(bench: Bench) -> None:
    """5.2: "Each server will vote for at most one candidate in a given term"."""
    for candidate in (B, C):
        bench.replica.receive(candidate, ask_for_vote(5, 1, 0))
    assert votes(bench) == [(B, 5)]


def test_a_candidate_of_an_earlier_term_gets_no_vote(bench: Bench) -> None:
    """Figure 2, RequestVote: "Reply false if term < currentTerm"."""
    bench.append((1, 0), commit=1, term=5)
    bench.replica.receive(C, ask_for_vote(4, 9, 4))
    assert votes(bench) == []
    assert bench.replica.raftCurrentTerm == 5


def test_a_candidate_asks_everyone_in_a_new_term(bench: Bench) -> None:
    """Figure 2, Candidates: "Increment currentTerm", "Send RequestVote RPCs to all ..."."""
    bench.append((1, 0), commit=1, term=5)
    bench.stand()
    asked = {to for to, m in bench.sent if m["type"] == "request_vote" and m["term"] == 6}
    assert bench.replica.raftCurrentTerm == 6
    assert asked == set(PEERS)


def test_a_candidate_has_given_its_vote_to_itself(bench: Bench) -> None:
    """Figure 2, Candidates: "Vote for self"."""
    bench.stand()
    bench.replica.receive(C, ask_for_vote(bench.replica.raftCurrentTerm, 9, 1))
    assert votes(bench) == []


def test_a_candidate_follows_a_leader_that_another_one_has_become(bench: Bench) -> None:
    """Figure 2: "If AppendEntries RPC received from new leader: convert to follower"."""
    bench.stand()
    bench.append((1, 0), commit=1, term=bench.replica.raftCurrentTerm)
    assert not bench.replica.is_candidate()
    assert bench.replica.leader() == B


@pytest.mark.parametrize("asks_for_vote", [True, False])
def test_a_leader_that_hears_of_a_later_term_leads_no_more(
    bench: Bench, *, asks_for_vote: bool
) -> None:
    """Figure 2, All Servers: "set currentTerm = T, convert to follower"."""
    term = elect(bench)
    if asks_for_vote:
        bench.replica.receive(C, ask_for_vote(term + 1, 1, 0))
    else:
        bench.append((1, 0), commit=1, term=term + 1)
    assert not bench.replica.is_leader()
    assert bench.replica.raftCurrentTerm == term + 1


def test_a_leader_begins_with_an_entry_of_its_own_term(bench: Bench) -> None:
    """8: "having each leader commit a blank no-op entry into the log at the start of its term"."""
    bench.append((1, 0), entry(2, 1), commit=1)
    term = elect(bench)
    assert log(bench)[-1] == (3, term)
    acknowledge(bench, up_to=3)
    assert bench.state() == (b"2/1",)  # the no-op is none of the state machine's commands


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting(bench: Bench) -> None:
    """5.4.2: "Only log entries from the leader's current term are committed by counting ..."."""
    bench.append((1, 0), entry(2, 1), commit=1)
    elect(bench)
    acknowledge(bench, up_to=2)
    assert bench.state() == ()
    acknowledge(bench, up_to=3)
    assert bench.state() == (b"2/1",)


def test_a_leader_leaves_its_log_as_it_was_and_adds_to_it(bench: Bench) -> None:
    """Figure 3: "a leader never overwrites or deletes entries in its log"."""
    bench.append((1, 0), entry(2, 1), entry(3, 1), commit=1)
    before = log(bench)
    elect(bench)
    bench.replica.submit(b"one", lambda *_: None)
    bench.replica.tick()
    assert log(bench)[: len(before)] == before
    assert len(log(bench)) == len(before) + 2
