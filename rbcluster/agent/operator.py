"""What an operator asks of the cluster, by way of this node's API.

Each request becomes a command, which Raft carries to the leader; the leader looks at it
(`admission.py`), a majority commits it, `apply` has the last word. Whoever is meant by it (the
office holder, a drained node's plan) finds it in the replicated state, also after a change of
leader.

Every command here is idempotent: asking twice, after an answer got lost, does no harm.

Overview::

    Operator
      |- propose(command)     have an operator's command committed, or say why not
      |- transfer(to)         hand the leadership over; returns who leads then
      |- drain(node), undrain(node)
      +- maintain(for_ms)     for so long, the silence of nodes withdraws nobody
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rbcluster.agent.clock import Clock
from rbcluster.agent.ports import Cluster
from rbcluster.core.apply import apply
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import (
    AcceptInvitation,
    MemberRequest,
    OperatorCommand,
    OrderTransfer,
    Refused,
    SetDrained,
    SetMaintenance,
)
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.core.state import Office
from rbcluster.errors import NoLeader, OutcomeUnknown, RuleBroken
from rbcluster.raft.proposal import Outcome

PROPOSE_TIMEOUT_S = 5.0  # an election and a half, also between far nodes
TRANSFER_TIMEOUT_S = 10.0  # the leader tries for three seconds, and then says that it failed
_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Operator:
    """Carries out what operators ask of one node."""

    cluster: Cluster
    clock: Clock

    async def propose(
        self,
        command: OperatorCommand | MemberRequest | AcceptInvitation,
        timeout_s: float = PROPOSE_TIMEOUT_S,
    ) -> None:
        """Have a command committed; on return, this node's state shows it.

        While nobody can take it (an election, a hand-over) it is tried again: it is certainly not
        in the log then.

        :raises NoLeader: if that lasted for all of `timeout_s`.
        :raises RuleBroken: if the leader or the state machine refuses it.
        :raises OutcomeUnknown: if no answer came.
        """
        give_up_at = self.clock.monotonic() + timeout_s
        while True:
            left_s = give_up_at - self.clock.monotonic()
            result = await self.cluster.propose(encode_command(command), left_s)
            if result.outcome is not Outcome.NOT_TAKEN:
                break
            if left_s <= _RETRY_S:
                raise NoLeader(f"nothing was changed: {result.detail}: see rbcluster status")
            await asyncio.sleep(_RETRY_S)
        if result.outcome is Outcome.UNKNOWN:
            raise OutcomeUnknown(
                f"it may have been done, or not: {result.detail}; see rbcluster status; asking "
                "again does no harm"
            )
        if result.outcome is Outcome.REFUSED:
            raise RuleBroken(f"refused by the leader: {result.detail}")
        if isinstance(result.verdict, Refused):
            raise RuleBroken(f"refused: {result.verdict.rule}")

    async def transfer(self, to: NodeId | None) -> NodeId:
        """Have the leadership handed over.

        :param to: a voter; None: to whom the leader chooses.
        :returns: who has taken office instead.
        :raises RaftError: as `propose`; `RuleBroken` also if nobody, or another, took it.
        """
        office = self.cluster.state.office
        if office is None:
            raise NoLeader("no leader has taken office yet: see rbcluster status")
        if office.node == to:
            return office.node
        await self.propose(OrderTransfer(to=to, term=office.term))
        new = await self._office_after(office)
        if new == office:
            raise RuleBroken(
                f"{office.node} still leads: {to or 'another voter'} did not take over: "
                "check that it is up and has caught up"
            )
        if to is not None and new.node != to:
            raise RuleBroken(f"{new.node} took the leadership instead of {to}: ask it next")
        return new.node

    async def drain(self, node: NodeId, *, force: bool) -> int:
        """Have a node's introduction points taken off the descriptors; a leader hands over before.

        :param force: even if no other node would be left on show, or nobody takes the leadership.
        :returns: how many nodes are left that may be on show.
        :raises RaftError: as `propose` and `transfer`.
        """
        command = SetDrained(node=node, drained=True, force=force)
        _, verdict = apply(self.cluster.state, command)  # before the leadership moves for nothing
        if isinstance(verdict, Refused):
            raise RuleBroken(f"refused: {verdict.rule}")
        if self.cluster.view.leader == node and len(self.cluster.view.voters) > 1:
            try:
                await self.transfer(None)
            except RuleBroken:
                if not force:
                    raise
        await self.propose(command)
        return sum(member.may_be_shown for member in self.cluster.state.members.values())

    async def undrain(self, node: NodeId) -> None:
        """Let a node's introduction points back.

        :raises RaftError: as `propose`.
        """
        await self.propose(SetDrained(node=node, drained=False, force=False))

    async def maintain(self, for_ms: int | None) -> UnixMs | None:
        """Let the silence of nodes withdraw nobody for a while; None: from now on it does again.

        :returns: when it ends by itself, by this node's clock.
        :raises RaftError: as `propose`.
        """
        now = self.clock.wall_ms()
        until = None if for_ms is None else UnixMs(now + for_ms)
        await self.propose(SetMaintenance(at=now, until=until))
        return until

    async def _office_after(self, office: Office) -> Office:
        """Wait until an ordered transfer has ended, one way or the other."""

        def is_over() -> bool:
            state = self.cluster.state
            return state.office != office or state.transfer is None

        if not await self.comes_true(is_over, TRANSFER_TIMEOUT_S):
            raise OutcomeUnknown(
                f"nobody has taken the leadership from {office.node} within "
                f"{TRANSFER_TIMEOUT_S:g} s: see rbcluster status"
            )
        return self.cluster.state.office or office

    async def comes_true(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until a condition on the cluster's state or view holds; tell whether it does."""
        changed = asyncio.Event()
        unsubscribe = self.cluster.subscribe(changed.set)
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return condition()
        finally:
            unsubscribe()
        return True
