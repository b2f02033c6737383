"""Members that change while the cluster runs: real engines, real TLS, the real state machine."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from rbcluster.core.codec import encode_command
from rbcluster.core.commands import AddMember, ChangeRole, SetAddress
from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.core.state import Role, Wish
from rbcluster.errors import StorageError
from rbcluster.raft.proposal import Outcome
from rbcluster.raft.view import Role as RaftRole
from tests.cluster.founded_cluster import founded
from tests.shared.local_cluster import LIMIT_S, eventually, free_addresses

A, B, C, D, E = map(NodeId, "abcde")
NEW = ClusterId(b"n" * 16)


async def test_one_node_founds_and_lets_the_others_in(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        assert cluster.leader is cluster.engines[A]
        assert len({engine.state.cluster_id for engine in cluster.engines.values()}) == 1


async def test_nobody_founds_without_a_majority_of_those_that_are_named(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        pass
    async with founded(tmp_path / "other", "abc", founders="abc") as cluster:
        await cluster.stop(B, C)
        await cluster.wipe(A)  # as it was before it had met anybody
        await asyncio.sleep(0)
        assert cluster.engines[A].view.role is RaftRole.LEARNER
        await cluster.start(B)
        await cluster.until_voters("ab")


async def test_a_cluster_grows_from_one_to_five_and_shrinks_again(tmp_path: Path) -> None:
    async with founded(tmp_path, "abcde", founders="a") as cluster:
        for node in (B, C, D, E):
            await cluster.add(node)
        await cluster.until_voters("abcde")
        await cluster.wish(D, Wish.LEARNER)
        await cluster.wish(E, Wish.GONE)
        await cluster.until_voters("abc")
        await eventually(lambda: E not in cluster.engines[A].state.members, "e is dropped")
        await eventually(lambda: not cluster.engines[E].view.connected, "e is cut off")
        assert cluster.engines[D].view.role is RaftRole.LEARNER
        await cluster.stop(C)  # two of three decide
        await cluster.propose(SetAddress(node=C, address="c.example.org:1"))
        await eventually(
            lambda: cluster.engines[D].state.members[C].address == "c.example.org:1", "d follows"
        )


async def test_the_leader_can_be_removed_and_its_certificate_is_refused_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        await cluster.wish(A, Wish.GONE)
        await cluster.until_voters("bc")
        await eventually(lambda: A not in cluster.engines[B].state.members, "a is dropped")
        await eventually(lambda: not cluster.engines[A].view.connected, "a is cut off")
        await eventually(lambda: "a is no member of this cluster" in caplog.text, "a is refused")
        assert not cluster.engines[A].view.connected


async def test_a_voter_whose_disk_is_lost_comes_back_as_a_learner_first(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        lost, roles = cluster.storage(C), []
        unsubscribe = cluster.engines[A].subscribe(
            lambda: roles.append(cluster.engines[A].state.members[C].role)
        )
        await cluster.wipe(C)
        await eventually(lambda: Role.LEARNER in roles, "it lost its vote")
        await cluster.until_voters("abc")
        assert cluster.storage(C) != lost
        unsubscribe()


async def test_a_voter_with_a_disk_from_a_backup_is_refused_until_it_is_reset(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        place, backup = cluster.settings[C].data_dir, tmp_path / "backup"
        await cluster.stop(C)
        shutil.copytree(place, backup)
        await cluster.start(C)
        await eventually(lambda: len(cluster.engines[C].view.connected) == 2, "c has its links")
        await cluster.propose(SetAddress(node=B, address="b.example.org:1"))
        await cluster.engines[A].transfer(B, LIMIT_S)
        await eventually(lambda: cluster.leader is cluster.engines[B], "b leads")
        await cluster.until_voters("abc")
        await cluster.stop(C)
        shutil.rmtree(place)
        shutil.copytree(backup, place)
        await cluster.start(C)
        first = cluster.engines[B]
        await eventually(lambda: C in first.view.set_back, "c is refused")
        await eventually(lambda: "refuses this node" in caplog.text, "c is told")
        assert "node=c is refused: its disk knows less than it did" in caplog.text
        await cluster.propose(SetAddress(node=B, address="b.example.org:2"))
        assert not cluster.engines[C].state.members  # it has yet to hear what is committed
        was = cluster.storage(C)
        await cluster.wipe(C)
        await cluster.until_voters("abc")
        assert cluster.storage(C) != was
        assert not first.view.set_back


async def test_the_founder_whose_disk_is_lost_founds_no_second_cluster(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        await cluster.stop(A)
        await eventually(lambda: C in cluster.engines[B].view.connected, "b has its link")
        cluster.stand(B)
        await eventually(lambda: cluster.leader is cluster.engines[B], "b leads")
        await cluster.start(A)
        await cluster.wipe(A)
        await cluster.until_voters("abc")
        assert cluster.engines[A].view.term == cluster.engines[B].view.term


async def test_a_wiped_voter_has_no_vote_until_the_cluster_gives_it_one(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        await cluster.stop(A)
        await cluster.stop(C)  # b alone has no majority
        await cluster.wipe(B)
        await cluster.start(C)  # c and a b that forgot: the b of before would be a majority with c
        await eventually(lambda: C in cluster.engines[B].view.connected, "they are linked")
        cluster.stand(C)
        cluster.stand(B)
        assert cluster.engines[B].view.role is RaftRole.LEARNER
        assert cluster.engines[C].view.role is RaftRole.FOLLOWER  # nobody could give it a vote
        await cluster.start(A)
        await eventually(lambda: A in cluster.engines[C].view.connected, "a is back")
        cluster.stand(C)
        await cluster.until_voters("abc")


async def test_a_node_that_was_away_finds_a_cluster_that_has_changed(tmp_path: Path) -> None:
    async with founded(tmp_path, "abcde", founders="abc") as cluster:
        await cluster.until_voters("abc")
        await cluster.stop(C)
        await cluster.add(D)
        await cluster.until_voters("abcd")
        await cluster.engines[A].transfer(D, LIMIT_S)  # a leader that c has never heard of
        await eventually(lambda: cluster.leader is cluster.engines[D], "d leads")
        await cluster.start(C)
        await cluster.until_voters("abcd")
        assert cluster.engines[C].view.leader == D


@pytest.mark.parametrize("num_writes", range(2))  # the wish, the change
async def test_a_change_that_a_kill_interrupts_at_any_write_comes_to_its_end(
    tmp_path: Path, num_writes: int
) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        cluster.kill_at_write(A, num_writes)
        asking = asyncio.create_task(cluster.wish(C, Wish.LEARNER))
        await eventually(lambda: cluster.engines[A].failure is not None, "a is killed")
        await cluster.stop(A)
        await cluster.start(A)
        await eventually(lambda: len(cluster.engines[A].view.connected) == 2, "a has its links")
        await cluster.elect(B, A)
        await asking
        await cluster.until_voters("ab")


async def test_a_leader_that_dies_with_the_news_of_a_second_voter_gets_that_ones_vote(
    tmp_path: Path,
) -> None:
    async with founded(tmp_path, "ab", founders="a") as cluster:
        await cluster.add(B, Wish.LEARNER)
        await eventually(lambda: cluster.engines[A].is_caught_up(B), "b has caught up")
        first = cluster.engines[A]
        here = first.view.storages[B]
        promote = ChangeRole(node=B, role=Role.VOTER, incarnation=here)
        asking = asyncio.create_task(first.reconfigure(encode_command(promote), LIMIT_S))
        await asyncio.sleep(0)  # it stands in the log, and nobody was told
        cluster.flush(A)
        first._mesh.abort()
        await cluster.stop(A)
        assert (await asking).outcome is Outcome.UNKNOWN
        assert cluster.engines[B].view.voters == (A,)
        await cluster.start(A)
        await eventually(lambda: B in cluster.engines[A].view.connected, "they are linked")
        cluster.stand(A)
        await eventually(lambda: cluster.leader is cluster.engines[A], "a leads, by b's vote")
        assert cluster.vote_of(B) == "a"


async def test_a_link_that_ends_as_its_peer_is_given_a_vote_stops_nobody(tmp_path: Path) -> None:
    async with founded(tmp_path, "ab", founders="a") as cluster:
        await cluster.add(B, Wish.LEARNER)
        await eventually(lambda: cluster.engines[A].is_caught_up(B), "b has caught up")
        first = cluster.engines[A]
        promote = ChangeRole(node=B, role=Role.VOTER, incarnation=first.view.storages[B])
        asking = asyncio.create_task(first.reconfigure(encode_command(promote), LIMIT_S))
        await asyncio.sleep(0)  # it stands in the log, and no tick has followed
        first._receiver.link_down(B)
        hello = cluster.engines[B]._receiver.greeting()
        await asyncio.sleep(0.01)
        first._receiver.link_up(B, hello)
        assert (await asking).outcome is Outcome.COMMITTED
        assert first.failure is None


async def test_nodes_that_were_let_in_find_each_other_when_all_were_down(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="a") as cluster:
        await cluster.add(B)
        await cluster.until_voters("ab")
        await cluster.compact(A)  # its snapshot knows nothing of c
        await cluster.add(C)
        await cluster.until_voters("abc")
        await cluster.stop(A, B, C)
        await cluster.start(A, B, C)  # each was told of a alone, and has yet to apply its log
        await eventually(
            lambda: all(len(e.view.connected) == 2 for e in cluster.engines.values()), "all linked"
        )
        await cluster.elect(A)
        await cluster.until_voters("abc")


async def test_entries_that_others_replaced_say_no_longer_who_is_a_member(
    tmp_path: Path,
) -> None:
    async with founded(tmp_path, "abcd", founders="abc") as cluster:
        await cluster.until_voters("abc")
        await cluster.stop(C)
        cluster.lengthen(C, 20)  # by what a had sent to nobody else
        await cluster.engines[A].transfer(B, LIMIT_S)
        await eventually(lambda: cluster.leader is cluster.engines[B], "b leads")
        await cluster.start(C)
        await cluster.add(D, Wish.LEARNER)
        await eventually(lambda: D in cluster.engines[C].view.connected, "c knows d")


async def test_a_cluster_begins_anew_from_what_one_node_knows(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        await cluster.propose(AddMember(node=D, address="d.example:1", wish=Wish.LEARNER, weight=1))
        await cluster.until_known(D)
        await cluster.stop(A, B, C)
        cluster.refound(C, NEW)
        await cluster.start(C)
        await cluster.elect(C)
        assert cluster.leader is cluster.engines[C]
        with pytest.raises(StorageError, match="belongs to cluster"):
            await cluster.start(A)
        for node in (A, B):
            shutil.rmtree(cluster.settings[node].data_dir)
            await cluster.start(node)
        await cluster.until_voters("abc")
        assert cluster.engines[A].state.cluster_id == NEW
        assert D in cluster.engines[B].state.members


async def test_a_link_outlives_a_wrong_address(tmp_path: Path) -> None:
    async with founded(tmp_path, "ab", founders="ab") as cluster:
        await cluster.until_voters("ab")
        went: list[str] = []
        unsubscribe = cluster.engines[A].subscribe(
            lambda: went.append("down") if not cluster.engines[A].view.connected else None
        )
        right = cluster.engines[A].state.members[B].address
        for address in ("b.example.org:1", right):
            await cluster.propose(SetAddress(node=B, address=address))
        await cluster.until_voters("ab")
        unsubscribe()
        assert went == []


async def test_an_address_is_dialled_anew_when_it_changes(tmp_path: Path) -> None:
    async with founded(tmp_path, "ab", founders="ab") as cluster:
        await cluster.until_voters("ab")
        (host, port) = free_addresses(1)[0]
        settings = cluster.settings[B]
        await cluster.propose(SetAddress(node=B, address=f"{host}:{port}"))
        await cluster.stop(B)
        cluster.settings[B] = type(settings)(
            **{
                name: getattr(settings, name)
                for name in settings.__dataclass_fields__
                if name != "listen"
            },
            listen=(host, port),
        )
        await cluster.start(B)
        await cluster.until_voters("ab")


async def test_only_one_vote_changes_at_a_time_and_only_by_the_leader(tmp_path: Path) -> None:
    async with founded(tmp_path, "abc", founders="abc") as cluster:
        await cluster.until_voters("abc")
        demote = [
            encode_command(ChangeRole(node=n, role=Role.LEARNER, incarnation=None)) for n in (B, C)
        ]
        results = await asyncio.gather(
            *(cluster.engines[A].reconfigure(command, LIMIT_S) for command in demote)
        )
        assert [result.outcome for result in results] == [Outcome.COMMITTED, Outcome.REFUSED]
        assert results[1].detail == "another change of the members is under way"
        result = await cluster.engines[B].reconfigure(demote[0], LIMIT_S)
        assert (result.outcome, result.detail) == (Outcome.REFUSED, "this node does not lead")
        oust = encode_command(ChangeRole(node=A, role=Role.LEARNER, incarnation=None))
        await eventually(lambda: cluster.leader is cluster.engines[A], "a leads")
        result = await cluster.engines[A].reconfigure(oust, LIMIT_S)
        assert result.detail == "the leader must be among the voters: hand over first"
        await cluster.until_voters("abc")
