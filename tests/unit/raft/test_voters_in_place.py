"""A replica whose voters change: what it counts by, and from whom it takes what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.configuration import encode_entry
from rbcluster.raft.messages import Message
from rbcluster.raft.profile import LAN
from tests.unit.raft.bench import B, Bench, C, entry

OTHER = Incarnation(b"o" * 16)
NEWEST = {"last_log_index": 9, "last_log_term": 9}


def configure(
    index: int, names: str, *, me: Incarnation | None = None, term: int = 1
) -> tuple[bytes, int, int]:
    """A configuration entry; a, this node, votes with its own storage unless told otherwise."""
    voters: dict[NodeId, Incarnation | None] = dict.fromkeys(map(NodeId, names))
    if me is not None:
        voters[NodeId("a")] = me
    return encode_entry(voters, b"members"), index, term


@pytest.fixture(name="bench")
def five_voters(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.storage.close()


def others(bench: Bench) -> str:
    return "".join(sorted(node.id for node in bench.replica.otherNodes))


def test_an_entry_counts_from_the_moment_it_stands_in_the_log(bench: Bench) -> None:
    bench.append((1, 0), configure(2, "abc"), commit=1)
    assert others(bench) == "bc"
    assert bench.replica.raftLastApplied == 1
    assert bench.replica.configured_at() == 2


def test_an_entry_that_another_takes_the_place_of_counts_no_more(bench: Bench) -> None:
    bench.append((1, 0), configure(2, "abc"), configure(3, "abcd"), commit=1)
    assert others(bench) == "bcd"
    bench.append((2, 1), entry(3, term=2), commit=1, term=2)
    assert others(bench) == "bc"
    bench.append((1, 0), entry(2, term=3), commit=1, term=3)
    assert others(bench) == "bcde"  # as told at the start


def test_the_command_of_an_entry_is_applied_when_it_is_committed(bench: Bench) -> None:
    bench.append((1, 0), configure(2, "abc"), commit=1)
    assert bench.state() == ()
    bench.append((2, 1), commit=2)
    assert bench.state() == (b"members",)


@pytest.mark.parametrize("storage", [None, OTHER])
def test_who_is_no_voter_or_has_another_storage_does_not_stand(
    bench: Bench, storage: Incarnation | None
) -> None:
    names = "bc" if storage is None else "abc"
    bench.append((1, 0), configure(2, names, me=storage), commit=1)
    assert not bench.replica.votes()
    bench.sent.clear()
    for peer in (B, C):
        bench.replica.link_up(peer, is_learner=False)
    bench.replica._SyncObj__raftElectionDeadline = 0
    bench.replica.tick()
    assert bench.sent == []
    assert not bench.replica.is_candidate()


def test_who_may_not_know_yet_that_it_votes_gives_its_vote_when_asked_and_once(
    bench: Bench,
) -> None:
    bench.append((1, 0), configure(2, "bc"), commit=1)
    bench.sent.clear()
    request: Message = {"type": "request_vote", "term": 9, **NEWEST}
    for peer in (B, C):
        bench.replica.receive(peer, request)
    assert bench.sent == [(B, {"type": "response_vote", "term": 9})]
    assert bench.storage.journal.getVotedForNodeId() == "b"
    assert not bench.replica.votes()


def test_a_learner_that_is_given_the_vote_of_its_storage_votes(bench: Bench) -> None:
    mine = bench.storage.owner.incarnation
    bench.append((1, 0), configure(2, "bc"), configure(3, "abc", me=mine), commit=1)
    assert bench.replica.votes()


def test_a_vote_of_a_node_without_one_is_not_counted(bench: Bench) -> None:
    bench.append((1, 0), configure(2, "abc"), commit=1)
    bench.stand()
    term = bench.replica.raftCurrentTerm
    bench.replica.receive(PeerNode("e"), {"type": "response_vote", "term": term})
    assert not bench.replica.is_leader()
    bench.replica.receive(C, {"type": "response_vote", "term": term})
    assert bench.replica.is_leader()


def test_a_stranger_that_stands_does_not_disturb_who_hears_a_leader(bench: Bench) -> None:
    bench.append((1, 0), configure(2, "abc"), commit=1)
    bench.sent.clear()
    bench.replica._leader_heard_at -= LAN.election_min_s  # a voter that asks is agreed with by now
    for kind in ("request_vote", "request_pre_vote"):
        request: Message = {"type": kind, "term": 9, **NEWEST}
        bench.replica.receive(PeerNode("e"), request)
    assert bench.replica.raftCurrentTerm == 1
    assert bench.sent == []
    bench.replica.receive(B, request)
    assert [message["type"] for _, message in bench.sent] == ["response_pre_vote"]


def test_what_a_snapshot_says_of_the_voters_is_as_of_its_end(bench: Bench) -> None:
    bench.append((1, 0), configure(2, "abc"), entry(3), entry(4), entry(5), commit=5)
    bench.replica.forceLogCompaction()
    while bench.storage.journal[0][1] == 1:
        bench.replica.tick()
    bench.append((5, 1), entry(6), commit=6)
    assert bench.replica.configured_at() == 0
    assert bench.replica.configured_as_of() == bench.storage.journal[1][1]


def lead(bench: Bench) -> None:
    bench.stand()
    for peer in (B, C):
        bench.replica.receive(
            peer, {"type": "response_vote", "term": bench.replica.raftCurrentTerm}
        )
    assert bench.replica.is_leader()


def acknowledge(bench: Bench, *peers: PeerNode) -> None:
    bench.replica.tick()
    index = bench.storage.journal[-1][1]
    for peer in peers:
        bench.replica.receive(
            peer,
            {"type": "next_node_idx", "next_node_idx": index + 1, "reset": False, "success": True},
        )
    bench.replica.tick()


def test_a_leader_begins_no_change_before_it_has_committed_in_its_term(bench: Bench) -> None:
    lead(bench)
    assert bench.replica.reason_against_reconfiguring() == "the leader has only just been elected"
    acknowledge(bench, B, C)
    assert bench.replica.reason_against_reconfiguring() is None


def test_one_change_at_a_time_and_by_the_new_majority(bench: Bench) -> None:
    lead(bench)
    acknowledge(bench, B, C)
    done: list[int] = []
    bench.replica.reconfigure(configure(0, "abcd")[0], lambda _, code: done.append(code))
    assert others(bench) == "bcd"
    assert bench.replica.reason_against_reconfiguring() == (
        "another change of the members is under way"
    )
    acknowledge(bench, B)
    assert done == []  # two of four are no majority
    acknowledge(bench, C)
    assert done == [0]
    assert bench.replica.reason_against_reconfiguring() is None


def test_an_acknowledgement_of_a_node_that_is_nothing_here_is_passed_over(bench: Bench) -> None:
    lead(bench)
    acknowledge(bench, PeerNode("stranger"))
    assert not bench.replica.holds_all_committed(PeerNode("nobody")) or (
        bench.replica.raftCommitIndex == 1
    )
    assert bench.replica.is_leader()
