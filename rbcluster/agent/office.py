"""The duties of a leader that are not publishing: found, take office, watch over presence, yield.

Level-triggered; every step is a command that `apply` checks against the office, so acting on a
stale belief of leading changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from rbcluster.agent.clock import Clock
from rbcluster.agent.membership import MembershipKeeper
from rbcluster.agent.peers import PeerTable
from rbcluster.agent.ports import Cluster
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import (
    Applied,
    Command,
    EndMaintenance,
    EndTransfer,
    RaiseSchema,
    SeedCluster,
    SetPresence,
    TakeOffice,
    Verdict,
)
from rbcluster.core.ids import NodeId
from rbcluster.core.membership import first_members
from rbcluster.core.state import SCHEMA_VERSION, Member, Office, Presence, Role, Transfer
from rbcluster.errors import RaftError
from rbcluster.instants import Monotonic
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.raft.view import Role as RaftRole

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5  # silence is noticed at this grain
HAND_OVER_AFTER_S = 2.0  # how long a leader may be unable to publish
PROPOSE_TIMEOUT_S = 5.0
TRANSFER_TIMEOUT_S = 3.0
FROZEN_S = 2.0  # a look this much late: the process or its machine stood still


def holds_office(cluster: Cluster, node: NodeId) -> bool:
    """Tell whether `node`, which asks this of its own replica, leads and has taken office."""
    view = cluster.view
    return view.role is RaftRole.LEADER and cluster.state.office == Office(
        node=node, term=view.term
    )


@dataclass(slots=True)
class OfficeKeeper:
    """What a node does about leading, beside publishing."""

    node: NodeId
    cluster: Cluster
    peers: PeerTable
    clock: Clock
    wakeup: Wakeup
    seed: SeedCluster  # how to found the cluster, from cluster.toml
    own_faults: Callable[[], tuple[str, ...]]
    newest_schema: int = SCHEMA_VERSION  # another one is for tests
    unable_since: Monotonic | None = None  # since when this leader can't publish
    members: MembershipKeeper = field(init=False)

    def __post_init__(self) -> None:
        self.members = MembershipKeeper(self.node, self.cluster, self.peers, self.clock)

    async def run(self) -> None:
        """Do the leader's duties for ever, when leading."""
        while True:
            if self.cluster.view.role is RaftRole.LEADER:
                await self._lead()
            else:
                self.unable_since = None
            await self._rest()

    async def _rest(self) -> None:
        """Wait for the next look. Who was frozen meanwhile has not seen the others fall silent."""
        due = self.clock.monotonic() + LOOK_EVERY_S
        await self.wakeup.wait(LOOK_EVERY_S)
        if self.clock.monotonic() > due + FROZEN_S:
            self.peers.excuse_silence(self.clock.monotonic())

    async def _lead(self) -> None:
        if not self.cluster.state.is_seeded:
            await self._found()
        elif not holds_office(self.cluster, self.node):
            await self._propose(TakeOffice(node=self.node, term=self.cluster.view.term))
        elif self.cluster.state.transfer is not None:
            await self._transfer(self.cluster.state.transfer)
        else:
            for change in self._presence_changes():
                await self._propose(change)
            for end in self._end_of_maintenance():
                await self._propose(end)
            for step in self._schema_change():
                await self._propose(step)
            if await self.members.step():
                _LOG.info("handing over, since this node is to lose its vote")
                await self.hand_over(self._successor(self.clock.monotonic()))
            await self._yield_if_unable()

    async def _found(self) -> None:
        """Found the cluster with those that vote in it now; the others are let in as they come."""
        view = self.cluster.view
        seed = replace(
            self.seed, members=first_members(self.seed.members, view.voters, view.storages)
        )
        await self._heed(
            seed, await self.cluster.reconfigure(encode_command(seed), PROPOSE_TIMEOUT_S)
        )

    async def _transfer(self, ordered: Transfer) -> None:
        """Try once to hand over as an operator wants; a successor's `TakeOffice` ends the order."""
        _LOG.info("handing over as ordered: to=%s", ordered.to or "anyone")
        await self.hand_over(ordered.to or self._successor(self.clock.monotonic()))
        if holds_office(self.cluster, self.node):
            term = self.cluster.view.term
            await self._propose(EndTransfer(office_node=self.node, office_term=term))

    def _schema_change(self) -> Iterator[RaiseSchema]:
        """Go over to the newest schema that every member knows, absent ones and learners too."""
        state, known = self.cluster.state, [self.newest_schema]
        for member in state.members.values():
            record = self.peers.record(member.node)
            if member.node != self.node:
                known.append(record.heartbeat.schema_version if record else state.schema)
        if min(known) > state.schema:
            _LOG.info("the cluster goes over to schema=%d", min(known))
            yield RaiseSchema(
                version=min(known),
                office_node=self.node,
                office_term=self.cluster.view.term,
            )

    def _presence_changes(self) -> Iterator[SetPresence]:
        """Find the members whose presence is not what their silence says."""
        state, now = self.cluster.state, self.clock.monotonic()
        for member in state.members.values():
            presence = self._presence(member, now)
            if presence is not member.presence:
                _LOG.info("node=%s is now %s", member.node, presence.value)
                yield SetPresence(
                    node=member.node,
                    presence=presence,
                    office_node=self.node,
                    office_term=self.cluster.view.term,
                )

    def _end_of_maintenance(self) -> Iterator[EndMaintenance]:
        """End a maintenance whose time is over."""
        until = self.cluster.state.maintenance_until
        if until is not None and self.clock.wall_ms() >= until:
            _LOG.info("maintenance is over: silence withdraws nodes again")
            term = self.cluster.view.term
            yield EndMaintenance(until=until, office_node=self.node, office_term=term)

    def _presence(self, member: Member, now: Monotonic) -> Presence:
        if member.node == self.node:
            return Presence.LIVE
        silent_ms = 1000 * self.peers.silent_s(member.node, now)
        if silent_ms >= self.cluster.state.policy.withdraw_after_ms:
            is_excused = self.cluster.state.maintenance_until is not None
            return member.presence if is_excused else Presence.WITHDRAWN
        heard = self.peers.record(member.node) is not None
        return Presence.LIVE if heard else member.presence

    async def _yield_if_unable(self) -> None:
        """Hand over to a node that can publish, when this one can't for a while, or is drained."""
        now = self.clock.monotonic()
        faults = self.own_faults() or (("it is drained",) if self._is_drained(self.node) else ())
        if not faults:
            self.unable_since = None
            return
        if self.unable_since is None:
            self.unable_since = now
        if now - self.unable_since < HAND_OVER_AFTER_S:
            return
        successor = self._successor(now)
        if successor is None or (self._is_drained(successor) and not self.own_faults()):
            return  # nobody would do better: stay, and let status say why
        _LOG.warning("handing over to node=%s: %s", successor, "; ".join(faults))
        await self.hand_over(successor)
        self.unable_since = None  # no proposal gets through meanwhile: if it failed, pause

    def _successor(self, now: Monotonic) -> NodeId | None:
        """Choose a connected voter that says it could publish, and said so just now.

        A drained one, which is about to be stopped, only if there is no other.
        """
        able = [m.node for m in self.cluster.state.members.values() if self._is_able(m, now)]
        return min(able, key=self._is_drained, default=None)

    def _is_able(self, member: Member, now: Monotonic) -> bool:
        record = self.peers.record(member.node)
        return (
            member.node != self.node
            and member.role is Role.VOTER
            and member.node in self.cluster.view.connected
            and record is not None
            and record.heartbeat.can_publish
            and record.is_fresh(now)
        )

    def _is_drained(self, node: NodeId) -> bool:
        member = self.cluster.state.members.get(node)
        return member is not None and member.drained

    async def hand_over(self, successor: NodeId | None = None) -> None:
        """Give the leadership away; failing to is logged, not raised."""
        try:
            await self.cluster.transfer(successor, TRANSFER_TIMEOUT_S)
        except RaftError as error:
            _LOG.warning("the leadership could not be handed over: %s", error)

    async def leave_office(self) -> None:
        """Hand over before this node stops, to one that can publish if there is one."""
        if self.cluster.view.role is RaftRole.LEADER and len(self.cluster.view.voters) > 1:
            await self.hand_over(self._successor(self.clock.monotonic()))

    async def _propose(self, command: Command) -> None:
        await self._heed(
            command, await self.cluster.propose(encode_command(command), PROPOSE_TIMEOUT_S)
        )

    async def _heed(self, command: Command, result: ProposalResult[Verdict]) -> None:
        if result.outcome is Outcome.COMMITTED and isinstance(result.verdict, Applied):
            return
        _LOG.info("%s was not taken: %s", type(command).__name__, result.detail or result.verdict)
        await asyncio.sleep(LOOK_EVERY_S)  # a refusal is committed, too, and that rang the bell
