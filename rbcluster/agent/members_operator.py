"""What an operator asks about the members, by way of this node's API.

A wish is committed, and the leader brings it about; most come true within a second, some only when
a node is up again or has caught up. So whoever asked is told which.
"""

from __future__ import annotations

from dataclasses import dataclass

from rbcluster.agent.operator import Operator
from rbcluster.core.commands import AddMember, SetAddress, SetWish
from rbcluster.core.ids import NodeId
from rbcluster.core.state import Wish

SETTLE_TIMEOUT_S = 10.0  # how long an operator waits to see a wish come true


@dataclass(frozen=True, slots=True)
class MembersOperator:
    """Carries out what operators ask about the members."""

    operator: Operator

    async def add(self, node: NodeId, address: str, wish: Wish) -> None:
        """Make a node, certified elsewhere, a member; it begins as a learner.

        :raises RaftError: as `Operator.propose`.
        """
        await self.operator.propose(AddMember(node=node, address=address, wish=wish, weight=1))

    async def set_address(self, node: NodeId, address: str) -> None:
        """Say where a member's peers reach it.

        :raises RaftError: as `Operator.propose`.
        """
        await self.operator.propose(SetAddress(node=node, address=address))

    async def set_wish(self, node: NodeId, wish: Wish, timeout_s: float = SETTLE_TIMEOUT_S) -> bool:
        """Say what a member is to be, and wait for it.

        :returns: whether it has come true; otherwise it will, once nothing stands against it.
        :raises RaftError: as `Operator.propose`; the leader refuses what would cost the quorum.
        """
        await self.operator.propose(SetWish(node=node, wish=wish))
        return await self.operator.comes_true(lambda: self._is_fulfilled(node, wish), timeout_s)

    def _is_fulfilled(self, node: NodeId, wish: Wish) -> bool:
        member = self.operator.cluster.state.members.get(node)
        return wish is Wish.GONE if member is None else member.role.value == wish.value
