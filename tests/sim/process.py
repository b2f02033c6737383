"""One simulated machine: a disk, a tor, clocks, and the process of rbcluster that comes and goes.

The process is what `rbcluster/daemon.py` makes of the shipped parts: engine and agent, tied
together. Should it end by itself, it is started again a little later, as systemd would.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from rbcluster.agent.admission import refusal
from rbcluster.agent.machine_facts import MachineFacts
from rbcluster.agent.members_operator import MembersOperator
from rbcluster.agent.node import Node
from rbcluster.core.commands import SeedCluster, Verdict
from rbcluster.core.ids import Incarnation, LogIndex, NodeId, UnixMs
from rbcluster.core.membership import voters_of
from rbcluster.core.state import ClusterState
from rbcluster.daemon import LEAVE_TIMEOUT_S, STATE_MACHINE
from rbcluster.errors import StorageError
from rbcluster.instants import Monotonic
from rbcluster.raft.configuration import Configuration
from rbcluster.raft.settings import RaftSettings
from tests.shared.virtual_time import unix_ms
from tests.sim.disk import Disks
from tests.sim.hsdirs import ModelTor
from tests.sim.ledger import Ledger
from tests.sim.links import SimMesh
from tests.sim.loop import Host, SimLoop
from tests.sim.network import Network
from tests.sim.site import KEYRING
from tests.sim.timeline import Timeline
from tests.sim.watched import WatchedEngine

RESTART_S = 1.0  # after the process has ended by itself


@dataclass(slots=True)
class MachineClock:
    """A machine's wall clock: its own rate, and wrong by `skew_s`. Monotonic is the loop's."""

    loop: SimLoop
    start: datetime
    skew_s: float

    def monotonic(self) -> Monotonic:
        return Monotonic(self.loop.time())

    def wall_ms(self) -> UnixMs:
        return UnixMs(unix_ms(self.start) + round(1000 * (self.loop.time() + self.skew_s)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all machines share."""

    loop: SimLoop
    network: Network
    disks: Disks
    ledger: Ledger
    timeline: Timeline
    seed: SeedCluster


@dataclass(slots=True, eq=False, kw_only=True)
class Machine:
    """A node's machine, whether its process runs or not."""

    settings: RaftSettings
    around: Surroundings
    host: Host
    clock: MachineClock
    tor: ModelTor
    rng: random.Random
    proposals: list[bytes] = field(default_factory=list)  # what it ever proposed
    is_gone: bool = False  # for good
    is_unused: bool = False  # not in the cluster, and never was
    configured: tuple[int, Configuration] = (0, {})  # by its log, as last seen
    storage: Incarnation | None = None  # the one it has, once it was seen
    down_count: int = 0  # how many faults keep the process down
    engine: WatchedEngine | None = None
    agent: Node | None = None
    _running: asyncio.Task[None] | None = None
    _last_state: ClusterState | None = None  # that the ledger knows of

    @property
    def node(self) -> NodeId:
        return self.settings.node

    @property
    def is_up(self) -> bool:
        return self.engine is not None

    @property
    def members(self) -> MembersOperator | None:
        """What an operator on this machine may ask about the members."""
        return None if self.agent is None else MembersOperator(self.agent.operator)

    def note(self, what: str) -> None:
        self.around.timeline.note(self.node, what)

    # Life of the process

    def start(self) -> None:
        """Start the process, unless something keeps it down."""
        is_kept_down = self.down_count or self.is_gone or self.is_unused
        if self.engine is None and not is_kept_down:
            self.engine = engine = self._new_engine()
            self.agent = self._new_agent(engine)
            self.tor.restart_agent()
            self.tor.on_change = partial(self._ring, self.agent)
            context = self.around.network.contexts[self.node]
            life = self._live(engine, self.agent)
            self._running = self.around.loop.create_task(life, context=context)

    def _new_engine(self) -> WatchedEngine:
        engine = WatchedEngine(
            replace(self.settings, disk=self.around.disks.disk(self.node)),
            STATE_MACHINE,
            admit=self._admit,
            on_message=self._hear,
            make_mesh=self.around.network.make_mesh,
        )
        engine.watch(self._applied)
        engine.ledger, engine.node = self.around.ledger, self.node
        engine.proposals = self.proposals
        return engine

    def _new_agent(self, engine: WatchedEngine) -> Node:
        return Node(
            self.node,
            cluster=engine,
            tor=self.tor,
            keyring=KEYRING,
            seed=self.around.seed,
            clock=self.clock,
            rng=self.rng.randbytes,
            machine=MachineFacts(disk_fault=partial(self.around.disks.fault, self.node)),
        )

    def _applied(self, command: bytes, after: ClusterState, verdict: Verdict | None) -> None:
        assert self.engine is not None
        self._last_state = after
        self.around.ledger.applied(self.node, self.engine.applying, command, after, verdict)

    def _admit(self, sender: NodeId, command: bytes) -> str | None:
        assert self.engine is not None
        assert self.agent is not None
        return refusal(
            sender,
            command,
            myself=self.node,
            members=self.engine.state.members,
            consensus=self.tor.consensus,
            sight=self.agent.office.members.sight,
        )

    def _hear(self, sender: NodeId, payload: bytes) -> None:
        if self.agent is not None:
            self.agent.hear(sender, payload)

    def _ring(self, agent: Node) -> None:
        context = self.around.network.contexts[self.node]
        self.around.loop.call_soon(agent.ring, context=context)

    async def _live(self, engine: WatchedEngine, agent: Node) -> None:
        """Run until cancelled, or until the engine stops for good."""
        changed = asyncio.Event()

        def on_change() -> None:
            self.look()
            changed.set()

        engine.subscribe(on_change)
        try:
            await engine.start()
        except StorageError as error:
            self._end_by_itself(error)
            return
        agent_task = asyncio.create_task(agent.run())
        try:
            while engine.failure is None:
                await changed.wait()
                changed.clear()
        finally:
            agent_task.cancel()
        self._end_by_itself(engine.failure)

    def look(self) -> None:
        """Let the ledger see what this node believes now."""
        engine = self.engine
        if engine is None:
            return
        view, state = engine.view, engine.state
        if engine.configured is not None:
            self.configured, self.storage = engine.configured, view.storages[self.node]
            self._compare_voters(engine.configured, view.last_applied, state)
        self.around.ledger.looked(self.node, view, self.configured[1])
        if state is not self._last_state and state.is_seeded:
            self._last_state = state
            self.around.ledger.jumped(self.node, view.last_applied, state)

    def _compare_voters(
        self, configured: tuple[int, Configuration], last_applied: LogIndex, state: ClusterState
    ) -> None:
        """Hold who votes by the log against who votes by the state that the log has led to."""
        index, voters = configured
        if state.is_seeded and index <= last_applied and voters != voters_of(state.members):
            self.around.timeline.violate(
                self.node, f"entry {index} says that {sorted(voters)} vote, its state otherwise"
            )

    def _end_by_itself(self, error: Exception) -> None:
        """End because the disk fails; anything else is a mistake of the product."""
        if not isinstance(error, StorageError) or not self.around.disks.fault(self.node):
            self.around.timeline.violate(self.node, f"stops by itself: {error!r}")
        self.note(f"stops: {error}")
        self._end(silently=False)
        self.around.loop.after(RESTART_S, self.start)

    def die(self) -> None:
        """Say no more: the process is being killed in the middle of something."""
        if self.engine is not None:
            mesh = self.engine._mesh
            assert isinstance(mesh, SimMesh)
            mesh.is_dying = True

    def crash(self, *, power: bool) -> None:
        """End the process at once; without power the peers are not told, and the cache is lost."""
        if self.engine is None:
            return
        self.note("loses power" if power else "is killed")
        if self._running is not None:
            self._running.cancel()
        self._end(silently=power)
        if power:
            self.around.disks.cut_power(self.node)

    def _end(self, *, silently: bool) -> None:
        engine, self.engine, self.agent = self.engine, None, None
        self.tor.on_change = _nothing
        assert engine is not None
        mesh = engine._mesh
        assert isinstance(mesh, SimMesh)
        self.around.network.close(mesh, silently=silently)
        engine._halt()
        self.around.disks.kill(self.node)
        self.around.loop.thaw(self.host)  # what was held back finds a dead process

    async def terminate(self) -> None:
        """Stop in order, as on SIGTERM."""
        engine, agent = self.engine, self.agent
        if engine is None or agent is None:
            return
        self.note("is told to stop")
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await agent.office.leave_office()
        await engine.stop()
        if self.engine is engine:  # else it was killed meanwhile, or told so twice
            assert self._running is not None
            self._running.cancel()
            self._end(silently=False)
            self.note("has stopped")
            self.start()  # unless it is to stay down for a while


def _nothing() -> None:
    pass
