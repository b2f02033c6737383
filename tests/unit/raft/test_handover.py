"""Handing the leadership over: one at a time, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from pysyncobj.config import FAIL_REASON

from rbcluster.core.ids import LogIndex, NodeId, Term
from rbcluster.errors import RaftError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.handover import HandOver
from rbcluster.raft.observers import Observers
from rbcluster.raft.profile import LAN
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.view import RaftView, Role
from tests.shared.virtual_time import run_virtually

A, B, C = (NodeId(name) for name in "abc")


class Leader:
    """A leader whose heirs are slow to take what they are asked to."""

    def __init__(self) -> None:
        self.view = RaftView(
            role=Role.LEADER,
            leader=A,
            term=Term(1),
            commit_index=LogIndex(1),
            last_applied=LogIndex(1),
            voters=(A, B, C),
            connected=frozenset({B, C}),
            has_quorum=True,
        )
        self.asked: list[str | None] = []
        self.observers = Observers()
        self.hand_over = HandOver(
            node=A,
            profile=LAN,
            replica=lambda: cast("Replica", self),
            view=lambda: self.view,
            observers=self.observers,
        )

    def transferLeadership(  # noqa: N802 - PySyncObj's name
        self, heir: PeerNode | None, callback: Callable[[None, int], None]
    ) -> None:
        self.asked.append(None if heir is None else heir.id)
        callback(None, FAIL_REASON.SUCCESS)

    def is_taken_by(self, heir: NodeId) -> None:
        self.view = replace(self.view, role=Role.FOLLOWER, leader=heir)
        self.observers.notify()


def test_no_proposal_is_let_in_before_the_last_of_two_has_ended() -> None:
    async def story() -> None:
        leader = Leader()
        patient = asyncio.create_task(leader.hand_over.to(None, 60.0))
        with pytest.raises(RaftError, match=r"b did not take the leadership within 1 s"):
            await leader.hand_over.to(B, 1.0)
        assert leader.hand_over.is_under_way
        leader.is_taken_by(C)
        await patient
        assert not leader.hand_over.is_under_way

    run_virtually(story())


def test_the_second_asks_nobody_before_the_first_has_ended() -> None:
    async def story() -> None:
        leader = Leader()
        first = asyncio.create_task(leader.hand_over.to(B, 1.0))
        await asyncio.sleep(0)
        second = asyncio.create_task(leader.hand_over.to(C, 60.0))
        with pytest.raises(RaftError, match="b did not take the leadership"):
            await first
        await asyncio.sleep(0.01)
        assert leader.asked[-1] == "c"
        assert leader.asked == sorted(leader.asked, key=str)
        leader.is_taken_by(C)
        await second

    run_virtually(story())


def test_what_the_first_brought_about_is_the_seconds_too() -> None:
    async def story() -> None:
        leader = Leader()
        both = [asyncio.create_task(leader.hand_over.to(heir, 60.0)) for heir in (B, None)]
        await asyncio.sleep(0.01)
        leader.is_taken_by(B)
        await asyncio.gather(*both)
        assert leader.asked == ["b"]

    run_virtually(story())
