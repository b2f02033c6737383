"""A small world for the agent: a perfect cluster, tors that do as told, HSDirs that keep the rules.

Real state machine, real plan, real descriptors; only what costs a network is replaced, by models
that a test can bend.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial

from rbcluster.agent.keyring import Keyring
from rbcluster.agent.machine_facts import MachineFacts
from rbcluster.agent.node import Node
from rbcluster.core.apply import apply_bytes
from rbcluster.core.commands import SeedCluster, Verdict
from rbcluster.core.ids import LogIndex, NodeId, Term
from rbcluster.core.plan import SlotRing, derive_slot_rings
from rbcluster.core.state import BackendKey, ClusterState, Member, Policy, Publication
from rbcluster.errors import RaftError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.descriptor import find_period, open_descriptor, read_blinded_key, read_revision
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import (
    BlindedKey,
    IdentityKeypair,
    IntroAuthKey,
    IntroEncKey,
    RelayEd25519Id,
    RelayNtorKey,
    SharedRandomValue,
)
from rbcluster.hs.time_period import HsTimes, TimePeriod
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.raft.view import RaftView
from rbcluster.raft.view import Role as RaftRole
from rbcluster.tor.descriptor_fetch import FetchOutcome, FetchResult
from rbcluster.tor.descriptor_upload import UploadOutcome, UploadResult
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.settings import TorStatus
from tests.shared.virtual_time import VirtualClock, unix_ms

NAMES = tuple(map(NodeId, ("ada", "bob", "cyd")))
ADA, BOB, CYD = NAMES
MASTER = IdentityKeypair.from_seed(bytes(range(32)))
SITE = OnionAddress(MASTER.public)
BLOG_MASTER = IdentityKeypair.from_seed(bytes(range(32, 64)))
BLOG = OnionAddress(BLOG_MASTER.public)
KEYS = {SITE: MASTER, BLOG: BLOG_MASTER}
SITE_ALONE = {SITE: "site"}
SITE_AND_BLOG = {SITE: "site", BLOG: "blog"}
START = datetime(2026, 3, 1, 15, 30, tzinfo=UTC)  # between TP and SRV
TIMES = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))


FULL_HOUR = START.replace(minute=0)


_slot_rings = functools.cache(derive_slot_rings)


def consensus(valid_after: datetime = FULL_HOUR, num_hsdirs: int = 20) -> ConsensusView:
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=valid_after + timedelta(hours=1),
        valid_until=valid_after + timedelta(hours=3),
        times=TIMES,
        srv_current=SharedRandomValue(bytes([1]) * 32),
        srv_previous=SharedRandomValue(bytes([2]) * 32),
        hsdirs=tuple(
            HsDir(Fingerprint(bytes([n]) * 20), RelayEd25519Id(bytes([n]) * 32))
            for n in range(num_hsdirs)
        ),
    )


def point(number: int) -> IntroPoint:
    return IntroPoint(
        link_specifiers=(LinkSpecifier(LinkType.LEGACY_ID, number.to_bytes(20)),),
        onion_key=RelayNtorKey(number.to_bytes(32)),
        auth_key=IntroAuthKey(IdentityKeypair.from_seed(number.to_bytes(32)).public.raw),
        enc_key=IntroEncKey(number.to_bytes(32)),
    )


def local_points(*numbers: int, origin: OnionAddress = SITE) -> LocalIntroPoints:
    return LocalIntroPoints(
        points=tuple(map(point, numbers)),
        traits=ServiceTraits(),
        origin=origin,
        period=TimePeriod.containing(START, TIMES),
        document=b"a document",
    )


@dataclass
class Upload:
    """What reached an HSDir."""

    at: float
    node: NodeId
    service: OnionAddress
    hsdir: Fingerprint
    blinded: BlindedKey
    revision: int
    relays: frozenset[int]


@dataclass(frozen=True)
class Sender:
    """Who uploads, and for which service."""

    node: NodeId
    service: OnionAddress


@dataclass
class HsDirs:
    """Every HSDir of the network: each keeps the highest revision for a blinded key."""

    held: dict[tuple[Fingerprint, BlindedKey], tuple[int, bytes]] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)
    silent: set[Fingerprint] = field(
        default_factory=set
    )  # take a descriptor without a word; refuse aloud
    down: set[Fingerprint] = field(default_factory=set)  # neither
    complaint: str = "silence"  # what tor says of an HSDir that is down

    async def post(
        self, sender: Sender, hsdir: Fingerprint, document: bytes, timeout_s: float
    ) -> UploadResult:
        await asyncio.sleep(0.1)
        if hsdir in self.down:
            await asyncio.sleep(timeout_s)
            return UploadResult(UploadOutcome.NO_ANSWER, self.complaint)
        blinded, revision = read_blinded_key(document), read_revision(document)
        key = hsdir, blinded
        accepted = key not in self.held or revision > self.held[key][0]
        if accepted:
            self.held[key] = revision, document
            now = asyncio.get_running_loop().time()
            relays = relays_of(document, sender.service)
            self.uploads.append(
                Upload(now, sender.node, sender.service, hsdir, blinded, revision, relays)
            )
        if hsdir in self.silent and accepted:
            await asyncio.sleep(timeout_s)
            return UploadResult(UploadOutcome.NO_ANSWER, "silence")
        return UploadResult(UploadOutcome.UPLOADED if accepted else UploadOutcome.REJECTED)


@lru_cache(maxsize=256)
def relays_of(document: bytes, service: OnionAddress) -> frozenset[int]:
    """The relay numbers a descriptor lists (see `point`)."""
    middle = TimePeriod.containing(START, TIMES)
    near = (middle, middle.previous(), middle.next())
    descriptor = open_descriptor(document, service, find_period(document, service, near))
    return frozenset(int.from_bytes(point.relay.raw) for point in descriptor.points)


class ModelCluster:
    """One node's door to a log that every node shares; commits need a connected leader."""

    def __init__(self, world: World, name: NodeId) -> None:
        self._world = world
        self._name = name

    @property
    def state(self) -> ClusterState:
        return self._world.state

    @property
    def view(self) -> RaftView:
        world = self._world
        leads = world.leader == self._name
        return RaftView(
            role=RaftRole.LEADER if leads else RaftRole.FOLLOWER,
            leader=world.leader,
            term=world.term,
            commit_index=LogIndex(world.index),
            last_applied=LogIndex(world.index),
            voters=NAMES,
            connected=frozenset(n for n in world.alive if n != self._name),
            has_quorum=len(world.alive) > 1,
        )

    @property
    def num_turned_away(self) -> Mapping[TurnedAway, int]:
        return dict.fromkeys(TurnedAway, 0)

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        await asyncio.sleep(0.01)
        world = self._world
        if self._name in world.alive and world.leader is None:
            return ProposalResult(outcome=Outcome.NOT_TAKEN, verdict=None, detail="no leader")
        if self._name not in world.alive:
            await asyncio.sleep(timeout_s)
            return ProposalResult(outcome=Outcome.UNKNOWN, verdict=None, detail="no answer")
        if world.loses(command):
            return ProposalResult(outcome=Outcome.UNKNOWN, verdict=None, detail="it got lost")
        world.state, verdict = apply_bytes(world.state, command)
        world.index += 1
        world.ring()
        return ProposalResult(outcome=Outcome.COMMITTED, verdict=verdict, detail="")

    async def reconfigure(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        return await self.propose(command, timeout_s)

    def is_caught_up(self, peer: NodeId) -> bool:
        return peer in self._world.alive

    async def transfer(self, to: NodeId | None, timeout_s: float) -> None:  # noqa: ARG002
        await asyncio.sleep(0.01)
        self._world.num_transfers += 1
        if self._world.leader != self._name:
            raise RaftError("only the leader can hand over")
        if self._world.keeps_leader:
            raise RaftError("nobody took it")
        others = [name for name in sorted(self._world.alive) if name != self._name]
        self._world.elect(to or others[0])

    def broadcast(self, payload: bytes) -> None:
        for name, node in self._world.nodes.items():
            is_heard = {name, self._name} <= self._world.alive - self._world.mute
            if name != self._name and is_heard:
                node.hear(self._name, payload)

    def tell(self, peer: NodeId, payload: bytes) -> bool:
        world = self._world
        is_heard = {peer, self._name} <= world.alive - world.mute
        if is_heard:
            world.nodes[peer].hear(self._name, payload)
        return is_heard

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        bells = self._world.bells[self._name]
        bells.append(callback)
        return lambda: bells.remove(callback)


class ModelTor:
    """A tor that says what the test put into it."""

    def __init__(self, world: World, name: NodeId) -> None:
        self._world = world
        self._name = name
        self.status = TorStatus(connected=True, version="0.4.9.11", bootstrapped=100)
        self.local: dict[OnionAddress, LocalIntroPoints] = {}  # none: not known
        self.bug: Exception | None = None  # raised when it is asked for its points
        self.num_visitors: int | None = 0
        self.view: ConsensusView | None = None  # another consensus than the world's
        self.offered: list[tuple[OnionAddress, bytes]] = []

    @property
    def consensus(self) -> ConsensusView | None:
        return (self.view or self._world.consensus) if self.status.connected else None

    @property
    def slot_rings(self) -> tuple[SlotRing, ...]:
        return _slot_rings(self.consensus) if self.consensus is not None else ()

    def intro_points(self, address: OnionAddress) -> LocalIntroPoints | None:
        if self.bug:
            raise self.bug
        return self.local.get(address)

    def offer(self, address: OnionAddress, document: bytes) -> bool:
        self.offered.append((address, document))
        return True

    async def upload(
        self,
        address: OnionAddress,
        document: bytes,
        hsdir: Fingerprint,
        may_send: Callable[[], bool],
        timeout_s: float,
    ) -> UploadResult:
        if not may_send() or not self.status.is_usable:
            return UploadResult(UploadOutcome.NOT_SENT, "no longer wanted, or tor is away")
        return await self._world.hsdirs.post(
            Sender(self._name, address), hsdir, document, timeout_s
        )

    async def fetch(
        self,
        address: OnionAddress,
        hsdir: Fingerprint,
        timeout_s: float,  # noqa: ARG002 - it always answers
    ) -> FetchResult:
        await asyncio.sleep(0.05)
        view = self.view or self._world.consensus
        period = TimePeriod.containing(view.valid_after, view.times)
        held = self._world.hsdirs.held.get((hsdir, derive_blinded_key(address.identity, period)))
        if held is None:
            return FetchResult(FetchOutcome.NOT_FOUND, "none")
        return FetchResult(FetchOutcome.FOUND, "", held[1])


class World:
    """Three nodes, one log, one network."""

    def __init__(
        self,
        policy: Policy | None = None,
        services: Mapping[OnionAddress, str] = SITE_ALONE,
        keyless: Collection[tuple[NodeId, OnionAddress]] = (),
        backends: Collection[BackendKey] = (),
    ) -> None:
        self.state = ClusterState()
        self.leader: NodeId | None = None
        self.term = Term(0)
        self.index = 1
        self.alive = set(NAMES)
        self.bells: dict[NodeId, list[Callable[[], None]]] = {name: [] for name in NAMES}
        self.loses: Callable[[bytes], bool] = lambda _: False  # which commands get lost
        self.mute: set[NodeId] = set()  # connected, but their heartbeats get lost
        self.keeps_leader = False  # whether every transfer of the leadership fails
        self.num_transfers = 0
        self.consensus = consensus()
        self.hsdirs = HsDirs()
        self.disk_faults: dict[NodeId, str] = {}
        self.authorities: set[NodeId] = set()  # who holds the authority's key
        self.tors = {name: ModelTor(self, name) for name in NAMES}
        self.clocks = {name: VirtualClock(unix_ms(START)) for name in NAMES}
        seed = SeedCluster(
            name="world",
            members=tuple(Member(node=n, address=f"{n}:1") for n in NAMES),
            services=services,
            policy=policy or Policy(),
            backends=frozenset(backends),
        )
        counter = itertools.count()
        self.nodes = {
            name: Node(
                name,
                cluster=ModelCluster(self, name),
                tor=self.tors[name],
                keyring=Keyring({s: KEYS[s] for s in services if (name, s) not in keyless}),
                seed=seed,
                clock=self.clocks[name],
                rng=lambda n: next(counter).to_bytes(8).rjust(n, b"\7"),
                machine=MachineFacts(
                    disk_fault=partial(self.disk_faults.get, name),
                    holds_authority=partial(self._holds_authority, name),
                ),
            )
            for name in NAMES
        }
        self._tasks: dict[NodeId, asyncio.Task[None]] = {}

    def _holds_authority(self, name: NodeId) -> bool:
        return name in self.authorities

    def start(self) -> None:
        for name, node in self.nodes.items():
            self._tasks[name] = asyncio.get_running_loop().create_task(node.run())

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def ring(self) -> None:
        for bell in tuple(bell for bells in self.bells.values() for bell in bells):
            bell()

    def elect(self, name: NodeId) -> None:
        self.leader, self.term = name, Term(self.term + 1)
        self.ring()

    def kill(self, name: NodeId) -> None:
        self.alive.discard(name)
        self._tasks[name].cancel()
        self.bells[name].clear()
        if self.leader == name:
            self.leader = None

    def hold(self, name: NodeId, *numbers: int, service: OnionAddress = SITE) -> None:
        """Give a node's tor these introduction points."""
        self.tors[name].local[service] = local_points(*numbers, origin=service)
        self.nodes[name].ring()

    def set_clocks(self, by: timedelta) -> None:
        """Set every node's wall clock, forward or back."""
        for clock in self.clocks.values():
            clock.skew_s += by.total_seconds()

    def publications(self, service: OnionAddress) -> list[Publication]:
        """What the state says of a service's descriptors."""
        return [p for (address, _), p in self.state.publications.items() if address == service]

    def on_show(self, service: OnionAddress = SITE) -> set[frozenset[int]]:
        """What the HSDirs responsible now list, one set if all say the same."""
        shown = set()
        for publication in self.publications(service):
            assert publication.reservation is not None
            blinded = derive_blinded_key(service.identity, publication.period)
            for hsdir in publication.reservation.hsdirs:
                held = self.hsdirs.held.get((hsdir, blinded))
                shown.add(relays_of(held[1], service) if held else frozenset())
        return shown

    def responsible(self) -> set[Fingerprint]:
        """Every HSDir that the last reservations name."""
        reservations = [p.reservation for p in self.state.publications.values()]
        return {hsdir for r in reservations if r for hsdir in r.hsdirs}

    def all_accepted(self, service: OnionAddress = SITE) -> bool:
        """Whether both descriptors are recorded as held by every responsible HSDir."""
        publications = self.publications(service)
        return len(publications) == 2 and all(
            p.reservation is not None and p.accepted == set(p.reservation.hsdirs)
            for p in publications
        )


async def eventually(condition: Callable[[], bool], limit_s: float) -> None:
    """Wait in virtual time until a condition holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.05)
