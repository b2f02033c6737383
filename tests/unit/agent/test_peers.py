"""Who is silent, and whose clock is off."""

from __future__ import annotations

import pytest

from rbcluster.agent.heartbeat import Heartbeat
from rbcluster.agent.peers import PeerTable
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.instants import Monotonic

A, B, C, D, E = (NodeId(name) for name in "abcde")


def _heard(*offsets_ms: tuple[NodeId, int]) -> PeerTable:
    table = PeerTable(started_at=Monotonic(0.0))
    for node, offset in offsets_ms:
        table.hear(
            node,
            Heartbeat(sent_at_ms=UnixMs(1_000_000 + offset)),
            now=Monotonic(1.0),
            wall_ms=UnixMs(1_000_000),
        )
    return table


def test_node_never_heard_is_silent_since_the_start_only() -> None:
    assert PeerTable(started_at=Monotonic(100.0)).silent_s(B, now=Monotonic(102.5)) == 2.5


def test_silence_counts_from_the_last_heartbeat() -> None:
    assert _heard((B, 0)).silent_s(B, now=Monotonic(4.0)) == 3.0


def test_silence_while_this_node_did_not_listen_is_nobodys_fault() -> None:
    table = _heard((B, 0))
    table.excuse_silence(Monotonic(20.0))
    assert table.silent_s(B, now=Monotonic(21.0)) == 1.0
    assert table.silent_s(C, now=Monotonic(21.0)) == 1.0


def test_clock_ahead_of_both_peers_is_seen_as_ours() -> None:
    table = _heard((B, -40_000), (C, -41_000))
    assert table.own_clock_offset_ms((A, B, C), myself=A, now=Monotonic(1.5)) == 40_000


def test_one_peer_with_a_wrong_clock_does_not_accuse_ours() -> None:
    table = _heard((B, -600_000), (C, 3))
    assert table.own_clock_offset_ms((A, B, C), myself=A, now=Monotonic(1.5)) == 0


def test_learners_and_unheard_voters_are_left_out_of_the_median() -> None:
    table = _heard((B, 500), (D, -900_000))
    assert table.own_clock_offset_ms((A, B, C), myself=A, now=Monotonic(1.5)) == -250


@pytest.mark.parametrize(("now", "offset_ms"), [(3.9, -250), (4.0, 0)])
def test_voter_that_has_fallen_silent_is_left_out_of_the_median(now: float, offset_ms: int) -> None:
    table = _heard((B, 500))
    assert table.own_clock_offset_ms((A, B), myself=A, now=Monotonic(now)) == offset_ms


def test_own_clock_is_right_when_nobody_was_heard() -> None:
    assert (
        PeerTable(started_at=Monotonic(0.0)).own_clock_offset_ms(
            (A, B, C), myself=A, now=Monotonic(1.5)
        )
        == 0
    )


def test_who_can_certify_is_what_each_last_said_of_itself() -> None:
    table = _heard((B, 0), (C, 0))
    for says, holders in ((True, {B}), (False, set[NodeId]())):  # the key came, and went
        word = Heartbeat(sent_at_ms=UnixMs(1), holds_authority=says)
        table.hear(B, word, now=Monotonic(2.0), wall_ms=UnixMs(1))
        assert table.authorities() == holders
