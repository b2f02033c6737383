"""Handing the leadership over, on purpose. Raft thesis 3.10.

PySyncObj sends the request, and only while no entry is in flight; so the engine takes no proposal
meanwhile, and it is asked again until another node leads. Of two who want it at once the second
waits its turn, and finds it done, or tries for itself.

Not here: who should lead (`agent/office.py`); a leader that must stop at once
(`Replica.abdicate`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pysyncobj.config import FAIL_REASON

from rbcluster.core.ids import NodeId
from rbcluster.errors import NotLeader, RaftError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.observers import Observers
from rbcluster.raft.profile import RaftProfile
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.view import RaftView, Role


@dataclass(slots=True, kw_only=True)
class HandOver:
    """One node's way to give the leadership away."""

    node: NodeId
    profile: RaftProfile
    replica: Callable[[], Replica]  # with all that was taken in in its log; RaftError if stopped
    view: Callable[[], RaftView]
    observers: Observers
    _num_wanted: int = field(default=0, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @property
    def is_under_way(self) -> bool:
        """Whether the engine is to take no proposal."""
        return self._num_wanted > 0

    async def to(self, heir: NodeId | None, timeout_s: float) -> None:
        """Hand the leadership to another voter: to the one most caught up if `heir` is None.

        :raises NotLeader: if this node does not lead.
        :raises RaftError: if no other voter, or another than `heir`, took it in time.
        """
        if self.view().role is not Role.LEADER:
            raise NotLeader(f"{self.node} does not lead: ask the leader")
        others = set(self.view().voters) - {self.node}
        if not others or (heir is not None and heir not in others):
            raise RaftError(f"{heir or 'nobody'} can't take the leadership: name another voter")
        self._num_wanted += 1
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                while not self._is_led_by_another():
                    await self._try(heir)
        except TimeoutError:
            raise RaftError(
                f"{heir or 'another voter'} did not take the leadership within {timeout_s:g} s: "
                "check that it is up and has caught up"
            ) from None
        finally:
            self._num_wanted -= 1
        if heir is not None and self.view().leader not in (None, heir):
            raise RaftError(
                f"{self.view().leader} took the leadership instead of {heir}: ask it next"
            )

    async def _try(self, heir: NodeId | None) -> None:
        """Ask once, and wait for what comes of it."""
        answers: list[int] = []
        self.replica().transferLeadership(
            None if heir is None else PeerNode(heir.name), lambda _, code: answers.append(code)
        )
        was_sent = answers == [FAIL_REASON.SUCCESS]
        patience_s = self.profile.election_max_s if was_sent else self.profile.append_s
        await self.observers.comes_true(self._is_led_by_another, patience_s)

    def _is_led_by_another(self) -> bool:
        return self.view().leader not in (None, self.node)
