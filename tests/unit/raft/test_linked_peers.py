"""What a linked peer counts as, told to the replica whenever that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.core.state import Member, Role
from rbcluster.raft.configuration import encode_entry
from rbcluster.raft.frames import FrameKind, Hello
from rbcluster.raft.linked_peers import LinkedPeers
from rbcluster.raft.roll import Hint, Roll
from rbcluster.raft.settings import Address
from tests.unit.raft.bench import Bench, entry

A, B, C, L, X = (NodeId(name) for name in "abclx")
OLD, NEW = Incarnation(b"o" * 16), Incarnation(b"n" * 16)
VOTERS = {A: None, B: OLD, C: OLD}


class Links:
    """A mesh that notes what it is told."""

    def __init__(self) -> None:
        self.sent: list[tuple[NodeId, object]] = []
        self.reproached: list[NodeId] = []
        self.welcome: frozenset[NodeId] = frozenset()

    def set_peers(self, dialled: Mapping[NodeId, Address], welcome: frozenset[NodeId]) -> None:
        assert dialled.keys() <= welcome
        self.welcome = welcome

    def send(self, peer: NodeId, kind: FrameKind, payload: object) -> bool:
        if kind is FrameKind.SET_BACK:
            self.reproached.append(peer)
        else:
            assert kind is FrameKind.VOTERS
            self.sent.append((peer, payload))
        return True


class Desk:
    """Node a, which follows b; b and c vote, l learns."""

    def __init__(self, directory: Path, *, is_clean: bool = False) -> None:
        self.bench = Bench(directory, voters="" if is_clean else "abcde")
        self.replica = self.bench.replica
        if not is_clean:
            entry = encode_entry(VOTERS, b"members")
            self.bench.append((1, 0), (entry, 2, 1), commit=1)
        self.links = Links()
        roll = Roll(
            node=A,
            votes=self.replica.votes(),
            configuration=self.replica.configuration(),
            configured_at=self.replica.configured_as_of(),
            told={},
            members=members(A, B, C, L),
        )
        self.peers = LinkedPeers(self.replica, self.links, roll, named=frozenset({A, B, C}))

    def link(self, peer: NodeId, incarnation: Incarnation = OLD, *, term: int = 0) -> None:
        hello = Hello(
            node=peer,
            cluster=ClusterId(bytes(16)),
            incarnation=incarnation,
            is_founded=True,
            term=term,
            last_index=1,
        )
        self.peers.link_up(peer, hello)

    def configure(self, names: str) -> None:
        voters = {NodeId(name): None if name == "a" else OLD for name in names}
        last = self.bench.storage.journal[-1]
        entry = (encode_entry(voters, b"members"), last[1] + 1, 1)
        self.bench.append((last[1], last[2]), entry, commit=1)
        self.peers.follow(self.peers.members)

    def connected(self) -> set[str]:
        return {node.id for node in self.replica._SyncObj__connectedNodes}

    def readers(self) -> set[str]:
        return {node.id for node in self.replica._SyncObj__readonlyNodes}


def members(*nodes: NodeId) -> dict[NodeId, Member]:
    return {
        node: Member(node=node, address=f"{node}:1", role=Role.LEARNER if node == L else Role.VOTER)
        for node in nodes
    }


@pytest.fixture(name="desk")
def a_desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.bench.storage.close()


def test_voters_and_learners_are_told_apart_and_strangers_not_told_at_all(desk: Desk) -> None:
    desk.link(B)
    desk.link(C, NEW)
    desk.link(L, NEW)
    assert desk.connected() == {"b", "l"}
    assert desk.readers() == {"l"}
    assert [desk.peers.may_send(n, "append_entries") for n in (B, C, L)] == [True, False, False]
    assert [desk.peers.may_send(n, "next_node_idx") for n in (B, C, L)] == [True, False, True]
    assert not desk.peers.may_send(X, "next_node_idx")


def test_a_link_stays_when_its_peer_gains_or_loses_its_vote(desk: Desk) -> None:
    for peer in (B, C, L):
        desk.link(peer)
    desk.configure("abcl")
    assert (desk.connected(), desk.readers()) == ({"b", "c", "l"}, set())
    assert desk.peers.may_send(L, "request_vote")
    desk.configure("abl")
    assert (desk.connected(), desk.readers()) == ({"b", "c", "l"}, {"c"})
    assert not desk.peers.may_send(C, "request_vote")


def test_a_stranger_whose_old_vote_is_taken_becomes_a_learner(desk: Desk) -> None:
    desk.link(C, NEW)
    assert desk.connected() == set()
    desk.configure("ab")
    assert desk.readers() == {"c"}


def test_who_is_no_member_any_more_is_not_welcome(desk: Desk) -> None:
    assert desk.links.welcome == {B, C, L}
    desk.peers.follow(members(A, B, L))
    assert desk.links.welcome == {B, L}


def test_each_peer_is_told_of_the_voters_at_once_and_when_they_change(desk: Desk) -> None:
    desk.link(B)
    desk.configure("ab")
    first, second = (Hint.from_wire(payload) for peer, payload in desk.links.sent if peer == B)
    assert (first.index, set(first.voters)) == (2, {A, B, C})
    assert (second.index, set(second.voters)) == (3, {A, B})


def test_a_voters_word_lets_a_newer_voter_lead_and_a_learners_does_not(desk: Desk) -> None:
    for peer in (B, L):
        desk.link(peer)
    hint = Hint(9, {L: OLD, X: OLD}, {X: ("x.example", 1)}).to_wire()
    desk.peers.take_hint(L, hint)
    assert not desk.peers.may_send(L, "append_entries")
    desk.peers.take_hint(B, hint)
    assert desk.peers.may_send(L, "append_entries")
    assert desk.links.welcome == {B, C, L, X}
    assert {voter.id for voter in desk.replica.otherNodes} == {"b", "c"}  # counts for nothing


async def test_a_peer_whose_disk_was_set_back_is_refused_until_it_has_another(desk: Desk) -> None:
    desk.link(B, term=3)
    desk.peers.heed(B, {"type": "append_entries", "term": 5})
    desk.peers.link_down(B)
    for term in (4, 6):  # a term it learns from others brings nothing back
        desk.link(B, term=term)
        assert desk.connected() == set()
        assert not desk.peers.may_send(B, "response_vote")
        assert desk.peers.set_back == {B}
        assert B not in desk.peers.storages
        desk.configure("abcl")  # whatever the log says of the voters
        assert desk.connected() == set()
        desk.peers.link_down(B)
    assert desk.links.reproached == [B, B]
    desk.link(B, NEW)
    desk.configure("ac")
    assert desk.readers() == {"b"}
    assert desk.peers.set_back == set()


@pytest.mark.parametrize("kind", ["request_vote", "response_vote", "append_entries"])
async def test_a_message_shows_its_senders_term(desk: Desk, kind: str) -> None:
    desk.link(B, term=3)
    desk.peers.heed(B, {"type": kind, "term": 5})
    desk.peers.link_down(B)
    desk.link(B, term=5)
    assert desk.peers.set_back == set()
    desk.peers.link_down(B)
    desk.link(B, term=4)
    assert desk.peers.set_back == {B}


async def test_what_follows_an_older_word_of_a_peer_shows_nothing(desk: Desk) -> None:
    desk.link(B, term=3)
    desk.peers.heed(B, {"type": "next_node_idx", "next_node_idx": 9, "success": True})
    desk.peers.heed(B, {"type": "request_pre_vote", "term": 9})  # a term that it only asks about
    desk.peers.link_down(B)
    desk.link(B, term=3)
    assert desk.peers.set_back == set()


def test_a_node_that_starts_clean_is_no_learners_to_capture(tmp_path: Path) -> None:
    desk = Desk(tmp_path, is_clean=True)
    for peer in (B, L):
        desk.link(peer)
    desk.peers.take_hint(L, Hint(2**48, {L: OLD}, {}).to_wire())
    assert not desk.peers.may_send(L, "append_entries")
    desk.peers.take_hint(B, Hint(9, {B: OLD}, {}).to_wire())
    assert desk.peers.may_send(B, "append_entries")
    desk.bench.storage.close()


def test_a_word_of_voters_lets_nobody_in_again_once_the_log_is_past_it(desk: Desk) -> None:
    desk.link(B)
    told = Hint(4, {B: OLD, X: OLD}, {X: ("x.example", 1)}).to_wire()
    desk.peers.take_hint(B, told)
    assert X in desk.links.welcome
    x_votes = (encode_entry({**VOTERS, X: OLD}, b"members"), 4, 1)
    desk.bench.append((2, 1), entry(3), x_votes, commit=3)
    desk.peers.follow(desk.peers.members)
    assert X in desk.links.welcome  # the leader, perhaps: it must not be cut before that is applied
    desk.bench.append((4, 1), commit=4)
    desk.peers.follow(desk.peers.members)
    assert X not in desk.links.welcome  # it left later
    desk.peers.take_hint(B, told)
    assert X not in desk.links.welcome


def test_an_address_that_makes_no_sense_harms_nobody_else(desk: Desk) -> None:
    strange = {**members(A, B), C: Member(node=C, address="not an address")}
    desk.peers.follow(strange)
    assert desk.links.welcome == {B}
