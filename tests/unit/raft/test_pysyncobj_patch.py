from __future__ import annotations

from pathlib import Path

import pytest
from pysyncobj.monotonic import monotonic

from rbcluster.errors import RaftError
from rbcluster.raft import pysyncobj_patch
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import Message
from rbcluster.raft.profile import LAN
from rbcluster.raft.pysyncobj_patch import check_library
from rbcluster.raft.storage import open_storage
from tests.shared.ledger import LEDGER
from tests.unit.raft.bench import PEERS, B, Bench, C, entry, place


def test_another_release_of_pysyncobj_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysyncobj_patch, "VERSION", "0.3.18")
    with pytest.raises(RaftError, match=r"PySyncObj 0\.3\.18 is installed, .* exactly 0\.3\.17"):
        check_library()


def test_a_hook_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pysyncobj_patch, "_METHOD_HOOKS", ("_SyncObj__gone",))
    with pytest.raises(RaftError, match="without _SyncObj__gone is installed"):
        check_library()


def test_an_attribute_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pysyncobj_patch, "_ATTRIBUTE_HOOKS", ("_SyncObj__gone",))
    with pytest.raises(RaftError, match="lacks _SyncObj__gone"):
        Bench(tmp_path)


def test_a_voter_is_counted_once_in_a_term(bench: Bench) -> None:
    bench.stand()
    for _ in range(4):
        bench.replica.receive(B, {"type": "response_vote", "term": 1})
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


def test_a_link_that_comes_up_gives_the_leader_time_to_be_heard(bench: Bench) -> None:
    bench.replica._SyncObj__raftElectionDeadline = monotonic() - 0.01
    bench.replica.link_up(B, is_learner=False)
    bench.replica.tick()
    assert not bench.replica.is_candidate()
    assert bench.replica._SyncObj__raftElectionDeadline > monotonic() + LAN.election_min_s


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


def test_a_frozen_follower_hears_the_leader_before_it_stands(bench: Bench) -> None:
    bench.replica.link_up(B, is_learner=False)
    bench.replica._SyncObj__raftElectionDeadline = monotonic() - 2 * LAN.election_min_s
    bench.replica.tick()
    assert not bench.replica.is_candidate()
    bench.replica._SyncObj__raftElectionDeadline = monotonic() - 0.01
    bench.replica.tick()
    assert bench.replica.is_candidate()


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
