"""The world of one run: built from a scenario, it lives through its faults, heals, and is judged.

::

    0 s        QUIET_S                      BAD_S             HEALED_WITHIN_S later, at the latest
    |-----------|-----------------------------|----------------------|
    founded      faults begin and end          all ended: converges    exactly what should be shown

The invariants of `ledger.py` are checked at every step of it. How long convergence may take is the
liveness that is promised (`convergence.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain

from rbcluster.core.codec import decode_command, encode_state
from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState, Member, Wish
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.hashring import slot_times
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.view import Role as RaftRole
from tests.sim import cluster_file, convergence, site, stand_ins
from tests.sim.disk import Disks, disks
from tests.sim.hsdirs import HsDirs, ModelTor
from tests.sim.ledger import Ledger
from tests.sim.links import Frame
from tests.sim.logs import heard
from tests.sim.loop import Host, SimLoop
from tests.sim.network import Network
from tests.sim.process import Machine, MachineClock, Surroundings
from tests.sim.scenario import BAD_S, Place, Planned, Scenario
from tests.sim.timeline import Timeline

LEARN_WITHIN_S = 8.0  # how long a new consensus takes to reach each tor
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    seed: int
    violation: str | None
    healed_s: float | None  # how long convergence took
    timeline: tuple[str, ...]


def run(scenario: Scenario, *, is_verbose: bool = False) -> Outcome:
    """Live through a scenario."""
    with ExitStack() as stack:
        stack.enter_context(stand_ins.in_place(scenario.seed))
        runner = stack.enter_context(asyncio.Runner(loop_factory=SimLoop))
        loop = runner.get_loop()
        assert isinstance(loop, SimLoop)
        chance = random.Random(f"world {scenario.seed}")
        made = stack.enter_context(disks(chance))
        timeline = Timeline(lambda: loop.now)
        stack.enter_context(heard(timeline, is_verbose=is_verbose))
        world = World(scenario, loop, chance, made, timeline)
        healed_s = runner.run(world.live())
        return Outcome(
            seed=scenario.seed,
            violation=timeline.violation,
            healed_s=healed_s,
            timeline=tuple(timeline.lines),
        )


class World:
    """All machines, and all that is between and around them."""

    def __init__(
        self,
        scenario: Scenario,
        loop: SimLoop,
        chance: random.Random,
        made_disks: Disks,
        timeline: Timeline,
    ) -> None:
        self.scenario = scenario
        self.loop = loop
        self.chance = chance
        self.disks = made_disks
        self.timeline = timeline
        self.consensus = site.consensus_at(scenario.start)
        self.watchers: list[Callable[[Frame], None]] = []
        self.lost_at = float("-inf")  # when a machine or its disk was lost last
        self.asked_at: dict[NodeId, float] = {}  # when an operator last wanted to change a member
        self._broken = asyncio.Event()
        timeline.on_violation = self._broken.set
        names = site.NAMES[: scenario.num_nodes]
        self._hosts = {
            name: Host(name, rate) for name, rate in zip(names, scenario.rates, strict=True)
        }
        contexts = {name: host.context() for name, host in self._hosts.items()}
        self.ledger = Ledger(timeline, lambda: loop.now, scenario.policy, self._state_of)
        self.network = Network(loop, chance, contexts)
        self.network.weather = scenario.weather
        self.network.on_sent = self._watch
        self.network.on_refused = lambda frame, error: timeline.violate(
            frame.way[1], f"refused a frame of {frame.way[0]}: {error}"
        )
        self.hsdirs = HsDirs(loop, scenario.seed, timeline, self.ledger)
        self._around = Surroundings(
            loop=loop,
            network=self.network,
            disks=made_disks,
            ledger=self.ledger,
            timeline=timeline,
            seed=cluster_file.founding(scenario),
        )
        self.machines = {name: self._new_machine(number) for number, name in enumerate(names)}
        self._tasks: set[asyncio.Task[None]] = set()

    # Building it

    def _new_machine(self, number: int) -> Machine:
        scenario, name = self.scenario, site.NAMES[number]
        rng = random.Random(f"{scenario.seed} {name}")
        return Machine(
            settings=self._settings(name, self._around.seed.members, rng),
            is_unused=scenario.places[number] is Place.SPARE,
            around=self._around,
            host=self._hosts[name],
            clock=MachineClock(self.loop, scenario.start, scenario.skews[number]),
            tor=ModelTor(name, self.hsdirs, self.consensus),
            rng=rng,
        )

    def _settings(
        self, name: NodeId, members: Iterable[Member], rng: random.Random
    ) -> RaftSettings:
        settings = cluster_file.settings(name, members, self.disks.directory(name))
        return replace(settings, profile=self.scenario.profile, draw=rng.randbytes)

    # What faults ask for

    @property
    def voters(self) -> list[Machine]:
        """Who votes, as last committed."""
        return [self.machines[node] for node in sorted(self.ledger.voters)]

    def tell(self, machine: Machine) -> None:
        """Bring a machine a cluster.toml with the members as they are now."""
        members = self.ledger.state.members.values()
        if any(member.wish is Wish.VOTER for member in members if member.node != machine.node):
            machine.settings = self._settings(machine.node, members, machine.rng)

    def knows_a_voter(self, machine: Machine) -> bool:
        """Tell whether a machine's cluster.toml names one that votes now."""
        return bool(self.ledger.voters & machine.settings.peers.keys())

    def empty(self, machine: Machine) -> None:
        """Take a machine's disk away; it gets a new one, and a cluster.toml that is of use."""
        self.disks.wipe(machine.node)
        machine.configured, machine.storage = (0, {}), None
        if not self.knows_a_voter(machine):
            self.tell(machine)

    def machine(self, who: int | None) -> Machine:
        """Find a node by number, or the leader: of several, the one of the highest term."""
        machines = tuple(self.machines.values())
        if who is not None:
            return machines[who]
        leading = [
            (machine.engine.view.term, number)
            for number, machine in enumerate(machines)
            if machine.engine is not None and machine.engine.view.role is RaftRole.LEADER
        ]
        return machines[max(leading, default=(0, 0))[1]]

    def _state_of(self, node: NodeId) -> ClusterState:
        engine = self.machines[node].engine
        return ClusterState() if engine is None else engine.state

    def hold(self, machine: Machine, variant: int | None) -> None:
        """Give a node's tor a set of introduction points."""
        local = site.no_points()
        if variant is not None:
            local = site.local_points(machine.node, variant, self.scenario.start)
        machine.tor.hold(local)

    def echo(self, machine: Machine, rng: random.Random) -> None:
        """Let a node propose once more something that it or another has proposed before."""
        by_kind: dict[type, list[bytes]] = {}
        for command in chain(*(each.proposals for each in self.machines.values())):
            by_kind.setdefault(type(decode_command(command)), []).append(command)
        if by_kind and machine.engine is not None:
            command = rng.choice(rng.choice(tuple(by_kind.values())))
            self.spawn(machine.engine.repeat(command), machine.node)

    def spawn(self, work: Coroutine[None, None, None], node: NodeId) -> None:
        """Do something as a node's own."""
        task = self.loop.create_task(work, context=self.network.contexts[node])
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch(self, frame: Frame) -> None:
        message = frame.payload
        if isinstance(message, dict):
            voter, receiver = frame.way
            storage = self.machines[voter].storage
            if message["type"] == "request_vote":
                self.ledger.voted(voter, storage, message["term"], voter)
            elif message["type"] == "response_vote":
                self.ledger.voted(voter, storage, message["term"], receiver)
        for watcher in self.watchers:
            watcher(frame)

    # Life

    async def live(self) -> float | None:
        """Live from the beginning to convergence, or to a violation.

        :returns: how many seconds convergence took.
        """
        self._fill_hsdirs()
        for number, machine in enumerate(self.machines.values()):
            self.hold(machine, self.scenario.variants[number])
            self.loop.after(self.chance.random(), machine.start)
        self._plan_consensus()
        undos: list[Callable[[], None]] = []
        for planned in self.scenario.faults:
            self.loop.after(planned.at, self._begin, planned, undos)
        await self._until(BAD_S)
        self._heal(undos)
        healed_s = await self._converge()
        if healed_s is not None:
            self._compare_states()
        for machine in self.machines.values():
            machine.crash(power=False)
        return healed_s

    async def _until(self, true_time: float) -> None:
        if not self._broken.is_set():
            try:
                async with asyncio.timeout(true_time - self.loop.now):
                    await self._broken.wait()
            except TimeoutError:
                pass

    def _begin(self, planned: Planned, undos: list[Callable[[], None]]) -> None:
        self.timeline.note("fault", f"{planned.fault} for {planned.for_s:.1f} s")
        undo = planned.fault.begin(self)
        undos.append(undo)

        def end() -> None:
            if undo in undos:
                undos.remove(undo)
                self.timeline.note("fault", f"ends: {planned.fault}")
                undo()

        self.loop.after(planned.for_s, end)

    def _heal(self, undos: list[Callable[[], None]]) -> None:
        self.timeline.note("fault", "all ends")
        for undo in undos:
            undo()
        undos.clear()
        self.network.weather = self.scenario.weather
        for machine in self.machines.values():
            machine.clock.skew_s = self.chance.gauss(0, 2)

    async def _converge(self) -> float | None:
        began = self.loop.now
        missing: str | None = "?"
        while missing and not self._broken.is_set():
            await self._until(self.loop.now + LOOK_EVERY_S)
            missing = convergence.missing(self)
            if missing and self.loop.now - began > convergence.HEALED_WITHIN_S:
                self.timeline.violate("world", f"not healed in time: {missing}")
        return None if missing else self.loop.now - began

    def _compare_states(self) -> None:
        """Hold the states of all members against each other, byte for byte."""
        expected = encode_state(self.ledger.state)
        for node in sorted(self.ledger.members):
            engine = self.machines[node].engine
            if engine is not None and encode_state(engine.state) != expected:
                self.timeline.violate(node, "its state at the end differs from the others'")

    # The Tor network

    def _fill_hsdirs(self) -> None:
        """Let HSDirs hold what something else has published before, if the scenario says so."""
        lead_s = self.scenario.foreign_lead_s
        if lead_s is None:
            return
        then = self.scenario.start + timedelta(seconds=lead_s)
        for slot_time in slot_times(self.consensus).values():
            keys = site.KEYRING.for_period(site.SITE, slot_time.period)
            blinded = derive_blinded_key(site.SITE.identity, slot_time.period)
            revision = keys.scheme.revision_for(slot_time, then)
            document = stand_ins.write_document(blinded, revision, ())
            for hsdir in self.consensus.hsdirs:
                self.hsdirs.held[hsdir.fingerprint, blinded] = document

    def _plan_consensus(self) -> None:
        """Let each tor learn of the next consensus, each in its own time."""
        full_hour = self.consensus.valid_after + timedelta(hours=1)
        due_s = (full_hour - self.scenario.start).total_seconds()
        self.loop.after(due_s, self._turn, site.consensus_at(full_hour))

    def _turn(self, consensus: ConsensusView) -> None:
        self.timeline.note("network", f"consensus of {consensus.valid_after:%H:%M}")
        self.consensus = consensus
        for machine in self.machines.values():
            delay_s = LEARN_WITHIN_S * self.chance.random()
            self.loop.after(delay_s, machine.tor.learn, consensus)
