"""The engine and its state machine, with somebody who hears what they apply and acknowledge."""

from __future__ import annotations

from collections.abc import Callable

from rbcluster.core.commands import Verdict
from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState
from rbcluster.daemon import STATE_MACHINE
from rbcluster.raft.configuration import Configuration
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.machine import MachineState
from rbcluster.raft.proposal import Outcome, ProposalResult
from tests.sim.ledger import Ledger

PROPOSE_TIMEOUT_S = 5.0

Applied = Callable[[bytes, ClusterState, Verdict | None], None]
"""Called with a command, the state after it and the verdict."""


class WatchedState(MachineState[ClusterState, Verdict]):
    """The state machine, and who hears what is applied to it."""

    def __init__(self, on_applied: Applied) -> None:
        super().__init__(STATE_MACHINE)
        self._on_applied = on_applied

    def apply(self, command: bytes) -> Verdict | None:
        verdict = super().apply(command)
        self._on_applied(command, self.current, verdict)
        return verdict


class WatchedEngine(RaftEngine[ClusterState, Verdict]):
    """The engine, and a ledger that hears what it told the agent."""

    ledger: Ledger
    node: NodeId
    proposals: list[bytes]  # all that this machine ever proposed

    def watch(self, on_applied: Applied) -> None:
        """Have every command that is applied heard; before the start."""
        self._machine = WatchedState(on_applied)

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        if command not in self.proposals:
            self.proposals.append(command)
        result = await super().propose(command, timeout_s)
        if result.outcome is Outcome.COMMITTED:
            self.ledger.acknowledged(self.node, command)
        return result

    async def reconfigure(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        result = await super().reconfigure(command, timeout_s)
        if result.outcome is Outcome.COMMITTED:
            self.ledger.acknowledged(self.node, command)
        return result

    async def repeat(self, command: bytes) -> None:
        """Propose something once more."""
        await self.propose(command, PROPOSE_TIMEOUT_S)

    @property
    def applying(self) -> int:
        """Index of the entry that is being applied."""
        assert self._replica is not None
        return self._replica.raftLastApplied + 1

    @property
    def configured(self) -> tuple[int, Configuration] | None:
        """Since which index who votes, by this node's log; None while it does not run."""
        replica = self._replica
        return None if replica is None else (replica.configured_at(), replica.configuration())
