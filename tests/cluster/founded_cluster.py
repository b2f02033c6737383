"""Engines over the real state machine, whose members change: each with the keeper that leads it.

The first node founds, as a daemon does; the others are let in. No tor, no publishing.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rbcluster.agent.clock import SystemClock
from rbcluster.agent.heartbeat import Heartbeat
from rbcluster.agent.office import OfficeKeeper
from rbcluster.agent.peers import PeerTable
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import AddMember, Command, SeedCluster, SetAddress, SetWish, Verdict
from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.core.membership import voters_of
from rbcluster.core.refounding import refounded
from rbcluster.core.state import ClusterState, Member, Policy, Role, Wish
from rbcluster.daemon import STATE_MACHINE
from rbcluster.errors import StorageError
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import REGULAR
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.raft.refounding import refound
from rbcluster.raft.settings import Founding, RaftSettings
from rbcluster.raft.storage import open_storage
from rbcluster.raft.view import Role as RaftRole
from tests.shared.local_cluster import LIMIT_S, PATIENT, eventually, make_settings

Engine = RaftEngine[ClusterState, Verdict]


CLOCK = SystemClock()
_BEAT_S = 0.1


def _hear(peers: PeerTable, sender: NodeId, payload: bytes) -> None:
    word = Heartbeat.from_bytes(payload)
    peers.hear(sender, word, now=CLOCK.monotonic(), wall_ms=CLOCK.wall_ms())


async def _live(engine: Engine, keeper: OfficeKeeper) -> None:
    """Keep the office, and say once in a while that this node lives."""

    async def beat() -> None:
        while True:
            engine.broadcast(Heartbeat(sent_at_ms=CLOCK.wall_ms()).to_bytes())
            await asyncio.sleep(_BEAT_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beat())
        tasks.create_task(keeper.run())


def seed_of(settings: Mapping[NodeId, RaftSettings], founding: Founding) -> SeedCluster:
    """Make the founding command for the nodes that a founding names."""
    return SeedCluster(
        name="test",
        members=tuple(
            Member(node=node, address=":".join(map(str, settings[node].listen)))
            for node in sorted(founding.voters)
        ),
        services={},
        policy=Policy(),
    )


class FoundedCluster:
    """Some nodes, of which `names` found the cluster; the others may be added."""

    def __init__(self, settings: Mapping[NodeId, RaftSettings], names: str) -> None:
        voters = frozenset(map(NodeId, names))
        self.founding = Founding(voters=voters, founder=min(voters))
        self.settings = {node: self._founded(each) for node, each in settings.items()}
        self.engines: dict[NodeId, Engine] = {}
        self._keepers: dict[NodeId, asyncio.Task[None]] = {}

    def _founded(self, settings: RaftSettings) -> RaftSettings:
        """Tell a node of those that found it, and of nobody else."""
        told = {n: where for n, where in settings.peers.items() if n in self.founding.voters}
        return replace(settings, peers=told, founding=self.founding)

    async def start(self, *nodes: NodeId) -> None:
        """Start nodes with what they have on disk."""
        for node in nodes:
            peers = PeerTable(CLOCK.monotonic())
            engine: Engine = RaftEngine(
                self.settings[node], STATE_MACHINE, on_message=partial(_hear, peers)
            )
            await engine.start()
            self.engines[node] = engine
            bell = Wakeup()
            engine.subscribe(bell.ring)
            seed = seed_of(self.settings, self.founding)
            keeper = OfficeKeeper(node, engine, peers, CLOCK, bell, seed, lambda: ())
            self._keepers[node] = asyncio.create_task(_live(engine, keeper))

    async def stop(self, *nodes: NodeId) -> None:
        """Stop nodes."""
        for node in nodes:
            keeper = self._keepers.pop(node)
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            await self.engines.pop(node).stop()

    async def wipe(self, node: NodeId) -> None:
        """Stop a node, take its disk away, and start it again."""
        await self.stop(node)
        shutil.rmtree(self.settings[node].data_dir)
        await self.start(node)

    def refound(self, node: NodeId, new: ClusterId) -> None:
        """Make a stopped node's storage a new cluster's, and tell all nodes of that."""
        refound(
            self.settings[node].storage,
            MachineState(STATE_MACHINE),
            new,
            lambda state, drawn: refounded(state, cluster=new, node=node, incarnation=drawn),
            datetime.now(UTC),
        )
        self.founding = replace(self.founding, founder=node)
        self.settings = {
            name: replace(settings, cluster=new, founding=self.founding)
            for name, settings in self.settings.items()
        }

    async def until_known(self, node: NodeId) -> None:
        """Wait until all that run know of a member."""
        await eventually(
            lambda: all(node in engine.state.members for engine in self.engines.values()),
            f"{node} is known",
        )

    async def elect(self, *nodes: NodeId) -> None:
        """Let nodes stand, one after the other, until one of all that run leads."""
        async with asyncio.timeout(LIMIT_S):
            while self.leader is None:
                for node in nodes:
                    self.stand(node)
                    await asyncio.sleep(0.2)

    def flush(self, node: NodeId) -> None:
        """Have a node write what it holds back, and tell nobody."""
        storage = self.engines[node]._storage
        assert storage is not None
        storage.journal.flush()

    async def compact(self, node: NodeId) -> None:
        """Have a node take a snapshot, and trim its journal."""
        replica, storage = self.engines[node]._replica, self.engines[node]._storage
        assert replica is not None
        assert storage is not None
        journal = storage.journal
        replica.forceLogCompaction()
        self.engines[node]._wake()
        await eventually(lambda: journal[0][1] > 1, f"{node} has a snapshot")

    def vote_of(self, node: NodeId) -> str | None:
        """Whom a node gave its last vote."""
        storage = self.engines[node]._storage
        return None if storage is None else storage.journal.getVotedForNodeId()

    def kill_at_write(self, node: NodeId, num_writes: int) -> None:
        """End a node at its disk's next write, or so many later: what it holds back is lost."""
        storage = self.engines[node]._storage
        assert storage is not None
        journal, flush = storage.journal, storage.journal.flush
        left = num_writes

        def flush_or_die() -> None:
            nonlocal left
            if journal._pending:
                left -= 1
            if left < 0:
                raise StorageError("killed")
            flush()

        journal.flush = flush_or_die  # type: ignore[method-assign]

    def lengthen(self, node: NodeId, num_entries: int) -> None:
        """Give a stopped node's log more entries of its last term."""
        storage = open_storage(self.settings[node].storage, MachineState(STATE_MACHINE))
        _, last, term = storage.journal[-1]
        move = SetAddress(node=node, address="nowhere.example:1")
        for index in range(last + 1, last + 1 + num_entries):
            storage.journal.add(bytes([REGULAR]) + encode_command(move), index, term)
        storage.journal.flush()
        storage.close()

    def stand(self, node: NodeId) -> None:
        """Let a node stand for election at once, if it may."""
        replica = self.engines[node]._replica
        assert replica is not None
        replica._SyncObj__raftElectionDeadline = 0
        replica.tick()
        self.engines[node]._wake()

    @property
    def leader(self) -> Engine | None:
        """The running node that leads and has taken office, if it is one."""
        for node, engine in self.engines.items():
            office = engine.state.office
            if (
                engine.view.role is RaftRole.LEADER
                and office
                and (office.node, office.term)
                == (
                    node,
                    engine.view.term,
                )
            ):
                return engine
        return None

    async def propose(self, command: Command) -> ProposalResult[Verdict]:
        """Propose on the leader, again as long as nobody can take it."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                if (engine := self.leader) is not None:
                    result = await engine.propose(encode_command(command), 1.0)
                    if result.outcome in {Outcome.COMMITTED, Outcome.REFUSED}:
                        return result
                await asyncio.sleep(0.02)

    async def add(self, node: NodeId, wish: Wish = Wish.VOTER) -> None:
        """Add a node, and start it."""
        address = ":".join(map(str, self.settings[node].listen))
        await self.propose(AddMember(node=node, address=address, wish=wish, weight=1))
        await self.start(node)

    async def wish(self, node: NodeId, wish: Wish) -> None:
        """Say what a member is to be."""
        await self.propose(SetWish(node=node, wish=wish))

    async def until_voters(self, names: str) -> None:
        """Wait until all running members agree that these vote, each with the storage it has."""
        wanted = sorted(map(NodeId, names))
        await eventually(lambda: self._agree_on(wanted), f"{names} vote")

    def _agree_on(self, wanted: list[NodeId]) -> bool:
        if self.leader is None:
            return False
        states = [self.engines[n].state for n in self.leader.state.members if n in self.engines]
        return all(
            sorted(voters_of(state.members)) == wanted
            and all(
                voters_of(state.members)[node] == self.storage(node)
                for node in wanted
                if node in self.engines
            )
            for state in states
        ) and all(
            list(self.engines[node].view.voters) == wanted
            for node in self.leader.state.members
            if node in self.engines
        )

    def storage(self, node: NodeId) -> object:
        """The storage that a running node has."""
        return self.engines[node].view.storages[node]

    def role(self, node: NodeId, role: Role) -> Callable[[], bool]:
        """Tell whether the leader gives a member this role."""

        def has_role() -> bool:
            leader = self.leader
            return leader is not None and leader.state.members[node].role is role

        return has_role


@asynccontextmanager
async def founded(directory: Path, names: str, *, founders: str) -> AsyncIterator[FoundedCluster]:
    """Lay out nodes, start those that found the cluster, and stop all at the end."""
    cluster = FoundedCluster(make_settings(directory, names, profile=PATIENT), founders)
    try:
        await cluster.start(*sorted(cluster.founding.voters))
        yield cluster
    finally:
        await cluster.stop(*tuple(cluster.engines))
