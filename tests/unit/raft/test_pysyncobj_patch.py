from __future__ import annotations

from pathlib import Path

import pytest
from pysyncobj.monotonic import monotonic

from rbcluster.errors import RaftError
from rbcluster.raft import pysyncobj_library
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import Message
from rbcluster.raft.profile import LAN
from rbcluster.raft.pysyncobj_library import check_library
from rbcluster.raft.storage import open_storage
from tests.shared.ledger import LEDGER
from tests.unit.raft.bench import PEERS, B, Bench, C, entry, place


def test_another_release_of_pysyncobj_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysyncobj_library, "VERSION", "0.3.18")
    with pytest.raises(RaftError, match=r"PySyncObj 0\.3\.18 is installed, .* exactly 0\.3\.17"):
        check_library()


def test_a_hook_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysyncobj_library, "_METHOD_HOOKS", ("_SyncObj__gone",))
    with pytest.raises(RaftError, match="without _SyncObj__gone is installed"):
        check_library()


def test_an_attribute_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pysyncobj_library, "_ATTRIBUTE_HOOKS", ("_SyncObj__gone",))
    with pytest.raises(RaftError, match="lacks _SyncObj__gone"):
        Bench(tmp_path)


def test_a_voter_is_counted_once_in_a_term(bench: Bench) -> None:
    bench.stand()
    for _ in range(4):
        bench.replica.receive(B, {"type": "response_vote", "term": 1})
    assert not bench.replica.is_leader()
    bench.replica.receive(C, {"type": "response_vote", "term": 1})
    assert bench.replica.is_leader()


@pytest.mark.parametrize("other_term", [0, 2])
def test_late_votes_of_another_term_make_no_vote_count_anew(bench: Bench, other_term: int) -> None:
    """A new connection may begin with what came last over the old one, in its order."""
    bench.stand()
    for term in (1, other_term, 1):
        bench.replica.receive(B, {"type": "response_vote", "term": term})
    assert not bench.replica.is_leader()
    bench.replica.receive(C, {"type": "response_vote", "term": 1})
    assert bench.replica.is_leader()


def test_nobody_can_acknowledge_entries_that_do_not_exist(bench: Bench) -> None:
    bench.stand()
    for peer in (B, C):
        bench.replica.receive(peer, {"type": "response_vote", "term": 1})
    bench.replica.submit(b"one", lambda *_: None)
    bench.replica.tick()
    for peer in (B, C):
        ahead: Message = {
            "type": "next_node_idx",
            "next_node_idx": 1000,
            "reset": False,
            "success": True,
        }
        bench.replica.receive(peer, ahead)
    bench.replica.tick()
    assert bench.state() == ()
    for peer in (B, C):
        bench.replica.receive(peer, {**ahead, "next_node_idx": 4})
    bench.replica.tick()
    assert bench.state() == (b"one",)


def test_only_entries_that_a_message_proves_are_committed(bench: Bench) -> None:
    bench.append((1, 0), entry(2), entry(3), entry(4), commit=2)
    assert bench.state() == (b"2/1",)
    bench.append((3, 1), commit=9, term=2)  # entry 4 may be another one there
    assert bench.state() == (b"2/1", b"3/1")
    bench.append((3, 1), entry(4, term=2), commit=4, term=2)
    assert bench.state() == (b"2/1", b"3/1", b"4/2")


def test_nothing_is_committed_while_a_snapshot_arrives(bench: Bench) -> None:
    bench.append((1, 0), entry(2), entry(3), commit=1)
    chunk: Message = {
        "type": "append_entries",
        "term": 2,
        "commit_index": 100,
        "serialized": (b"begin", True, False),
    }
    bench.replica.receive(B, chunk)
    bench.replica.tick()
    assert bench.state() == ()


def test_a_message_sent_again_undoes_nothing(bench: Bench) -> None:
    bench.append((1, 0), *(entry(i) for i in range(2, 8)), commit=5)
    bench.append((1, 0), entry(2), commit=5)
    bench.append((2, 1), commit=5)
    assert len(bench.storage.journal) == 7
    bench.append((7, 1), commit=7)
    assert len(bench.state()) == 6


@pytest.mark.parametrize("command", [b"\x02\x93\xa3add", b"\x03\x01", b"\x01", b"\x09"])
def test_an_entry_that_is_no_plain_command_changes_nothing(bench: Bench, command: bytes) -> None:
    bench.append((1, 0), (command, 2, 1), entry(3), commit=3)
    assert bench.state() == (b"3/1",)
    assert bench.replica.otherNodes == set(PEERS)


def test_a_vote_is_on_disk_before_it_is_answered(bench: Bench, tmp_path: Path) -> None:
    ask: Message = {"type": "request_vote", "term": 5, "last_log_index": 1, "last_log_term": 0}
    bench.is_sending = False
    bench.replica.receive(B, ask)
    assert bench.sent == [(B, {"type": "response_vote", "term": 5})]
    bench.storage.close()
    again = Bench(tmp_path)
    again.replica.receive(C, ask)
    assert again.sent == []
    again.replica.receive(C, {**ask, "term": 6})
    assert again.sent == [(C, {"type": "response_vote", "term": 6})]
    bench.storage = again.storage


def test_a_link_that_comes_up_does_not_undo_a_hand_over(bench: Bench) -> None:
    bench.append((1, 0), commit=1)
    bench.replica.receive(B, {"type": "timeout_now", "term": 1})
    bench.replica.link_up(C, is_learner=False)
    bench.replica.tick()
    assert bench.replica.is_candidate()


def lead(bench: Bench) -> None:
    bench.stand()
    for peer in (B, C):
        bench.replica.receive(peer, {"type": "response_vote", "term": 1})
    bench.replica.tick()
    assert bench.replica.is_leader()


def let_answers_age(bench: Bench, seconds: float) -> None:
    answered = bench.replica._SyncObj__lastResponseTime
    answered.update({node: at - seconds for node, at in answered.items()})


def test_a_leader_unheard_for_its_fallback_time_leads_no_longer_and_knows_no_leader(
    bench: Bench,
) -> None:
    lead(bench)
    let_answers_age(bench, LAN.leader_fallback_s / 2)
    bench.replica.tick()
    assert bench.replica.is_leader()
    assert bench.replica.is_heard_by_majority()
    let_answers_age(bench, LAN.leader_fallback_s / 2)
    assert not bench.replica.is_heard_by_majority()
    bench.replica.tick()
    assert not bench.replica.is_leader()
    assert bench.replica.leader() is None


def test_a_frozen_leader_reads_its_answers_before_it_steps_down(bench: Bench) -> None:
    lead(bench)
    let_answers_age(bench, 10)
    bench.replica._ticked_at -= 10
    bench.replica.tick()
    assert bench.replica.is_leader()
    let_answers_age(bench, LAN.leader_fallback_s)  # and nothing has come meanwhile
    bench.replica.tick()
    assert not bench.replica.is_leader()


def agree(bench: Bench, peer: PeerNode, term: int, known_term: int = 0) -> None:
    answer: Message = {"type": "response_pre_vote", "term": term, "known_term": known_term}
    bench.replica.receive(peer, answer)
    bench.replica.tick()


def lose_patience(bench: Bench) -> None:
    for peer in PEERS:
        bench.replica.link_up(peer, is_learner=False)
    bench.replica._SyncObj__raftElectionDeadline = monotonic() - 60  # however late
    bench.replica.tick()


def test_a_follower_asks_before_it_stands(bench: Bench) -> None:
    lose_patience(bench)
    question = {
        "type": "request_pre_vote",
        "term": 1,
        "last_log_index": 1,
        "last_log_term": 0,
    }
    assert sorted(bench.sent, key=lambda each: each[0].id) == [(p, question) for p in PEERS]
    assert (bench.replica.raftCurrentTerm, bench.replica.is_candidate()) == (0, False)


def test_it_stands_when_a_majority_has_agreed_above_the_term_they_know(bench: Bench) -> None:
    lose_patience(bench)
    for _ in range(3):
        agree(bench, B, term=1)
    assert not bench.replica.is_candidate()
    agree(bench, C, term=1, known_term=7)
    assert bench.replica.is_candidate()
    assert bench.replica.raftCurrentTerm == 8


def test_agreement_to_an_earlier_question_is_none(bench: Bench) -> None:
    lose_patience(bench)
    for peer in (B, C):
        agree(bench, peer, term=2)
    assert not bench.replica.is_candidate()


def test_agreement_is_void_once_the_leader_is_heard(bench: Bench) -> None:
    bench.append((1, 0), commit=1)
    lose_patience(bench)
    bench.append((1, 0), commit=1)
    for peer in (B, C):
        agree(bench, peer, term=2)
    assert not bench.replica.is_candidate()


def asked(bench: Bench, last: tuple[int, int] = (1, 0)) -> list[tuple[PeerNode, Message]]:
    """What is sent when c asks for agreement with such a last entry."""
    bench.sent.clear()
    index, term = last
    question: Message = {"term": 3, "last_log_index": index, "last_log_term": term}
    bench.replica.receive(C, {"type": "request_pre_vote", **question})
    return bench.sent


def test_who_hears_no_leader_agrees_and_tells_its_term_but_takes_no_other(bench: Bench) -> None:
    bench.append((1, 0), commit=1, term=2)
    bench.replica._leader_heard_at = monotonic() - LAN.election_min_s
    assert asked(bench) == [(C, {"type": "response_pre_vote", "term": 3, "known_term": 2})]
    assert bench.replica.raftCurrentTerm == 2


def test_who_hears_the_leader_does_not_agree(bench: Bench) -> None:
    bench.append((1, 0), commit=1)
    assert asked(bench) == []


def test_the_leader_does_not_agree(bench: Bench) -> None:
    bench.stand()
    for peer in (B, C):
        bench.replica.receive(peer, {"type": "response_vote", "term": 1})
    assert asked(bench, last=(99, 1)) == []


@pytest.mark.parametrize(
    ("last", "num_answers"), [((2, 1), 0), ((3, 0), 0), ((3, 1), 1), ((2, 2), 1)]
)
def test_who_has_the_longer_log_does_not_agree(
    bench: Bench, last: tuple[int, int], num_answers: int
) -> None:
    bench.append((1, 0), entry(2), entry(3), commit=3)
    bench.replica._leader_heard_at = float("-inf")
    assert len(asked(bench, last)) == num_answers


def test_a_second_leader_of_one_term_is_none(bench: Bench) -> None:
    bench.append((1, 0), entry(2), commit=2)
    for term, commands in ((1, (b"2/1",)), (2, (b"2/1", b"3/2"))):
        forged: Message = {
            "type": "append_entries",
            "term": term,
            "commit_index": 3,
            "prevLogIdx": 2,
            "prevLogTerm": 1,
            "entries": (entry(3, term),),
        }
        bench.replica.receive(C, forged)
        bench.replica.tick()
        assert bench.state() == commands
        assert bench.replica.leader() == (B if term == 1 else C)


def test_a_leader_follows_nobody_in_its_own_term(bench: Bench) -> None:
    bench.stand()
    for peer in (B, C):
        bench.replica.receive(peer, {"type": "response_vote", "term": 1})
    bench.append((1, 0), commit=1)
    assert bench.replica.is_leader()


def test_a_command_that_can_not_be_sent_is_refused_at_once(bench: Bench) -> None:
    answers: list[tuple[object, int]] = []
    bench.append((1, 0), commit=1)
    bench.is_sending = False
    bench.replica.submit(b"one", lambda answer, code: answers.append((answer, code)))
    bench.replica.tick()
    assert answers == [(None, 2)]


def test_a_command_overtaken_by_a_snapshot_is_answered(bench: Bench, tmp_path: Path) -> None:
    leader = MachineState(LEDGER)
    leader.apply(b"two")
    source = open_storage(place(tmp_path / "leader", "b"), leader)
    source.snapshots.serialize((None, entry(9), entry(8), PEERS), 8)
    source.close()
    answers: list[tuple[object, int]] = []
    bench.append((1, 0), commit=1)
    bench.replica.submit(b"one", lambda answer, code: answers.append((answer, code)))
    bench.replica.tick()
    request = bench.sent[-1][1]["request_id"]
    bench.replica.receive(
        B, {"type": "apply_command_response", "request_id": request, "log_idx": 5, "log_term": 1}
    )
    data = (tmp_path / "leader" / "snapshot").read_bytes()
    for chunk in ((data, True, False), (b"", False, True)):
        bench.replica.receive(
            B, {"type": "append_entries", "term": 1, "commit_index": 9, "serialized": chunk}
        )
    assert answers == [(None, 7)]
    assert bench.state() == (b"two",)
