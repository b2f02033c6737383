"""The leader's care for the members: it brings about what operators want, one safe step at a time.

Level-triggered, from the replicated state and what the leader sees (`core/membership.py` decides).
A step that is interrupted, by kill -9 or an election, is taken by the next leader, or was taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from rbcluster.agent.clock import Clock
from rbcluster.agent.peers import PeerTable
from rbcluster.agent.ports import Cluster
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied
from rbcluster.core.ids import NodeId
from rbcluster.core.membership import HandOver, Sight, next_step, obstacle
from rbcluster.core.state import Member, Role
from rbcluster.raft.proposal import Outcome

_LOG = logging.getLogger(__name__)

STEP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class MembershipKeeper:
    """What a leader does about the members."""

    node: NodeId
    cluster: Cluster
    peers: PeerTable
    clock: Clock

    async def step(self) -> bool:
        """Take one step, if there is one to take.

        :returns: whether it takes another leader: this one is to lose its vote.
        """
        step = next_step(self.cluster.state.members, self.sight())
        if step is None or isinstance(step, HandOver):
            return step is not None
        _LOG.info("members: %s node=%s", type(step).__name__, step.node)
        result = await self.cluster.reconfigure(encode_command(step), STEP_TIMEOUT_S)
        if result.outcome is not Outcome.COMMITTED or not isinstance(result.verdict, Applied):
            _LOG.info("that was not done: %s", result.detail or result.verdict)
        return False

    def sight(self) -> Sight:
        """Say what this leader sees of the members."""
        members, storages = self.cluster.state.members, self.cluster.view.storages
        return Sight(
            myself=self.node,
            linked=storages,
            caught_up=frozenset(
                node
                for node, member in members.items()
                if member.role is Role.LEARNER
                and self.cluster.is_caught_up(node)
                and self._is_heard(node)
            ),
            keyless=frozenset(node for node in members if self._is_keyless(node)),
        )

    def _is_heard(self, node: NodeId) -> bool:
        """Tell whether a node said just now what it holds; it may have lost its disk since."""
        record = self.peers.record(node)
        return record is not None and record.is_fresh(self.clock.monotonic())

    def _is_keyless(self, node: NodeId) -> bool:
        record = self.peers.record(node)
        return record is not None and not record.heartbeat.has_keys

    def unfulfilled(self) -> Iterator[tuple[Member, str | None]]:
        """List the members that are not yet what they are to be, and what stands against it."""
        members, sight = self.cluster.state.members, self.sight()
        for member in members.values():
            if member.role.value != member.wish.value:
                yield member, obstacle(member, members, sight)
