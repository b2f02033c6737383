"""Models at the rim: HSDirs, and the tor of each node.

An HSDir keeps, for each blinded key, the descriptor of the highest revision it was ever sent. It
may answer late or never, take a descriptor without a word, or refuse one it should take. What is on
its way when a node dies arrives all the same.

A tor has introduction points, a consensus, a control connection; the simulation takes each away.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from rbcluster.core.ids import NodeId
from rbcluster.core.plan import SlotRing, derive_slot_rings
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.keys import BlindedKey
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.descriptor_fetch import FetchOutcome, FetchResult
from rbcluster.tor.descriptor_upload import UploadOutcome, UploadResult
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.settings import TorStatus
from tests.sim.ledger import Ledger
from tests.sim.loop import SimLoop
from tests.sim.stand_ins import read_document
from tests.sim.timeline import Timeline


class Mood(Enum):
    """How an HSDir behaves."""

    WELL = "well"
    DOWN = "down"  # neither stores nor answers
    MUTE = "mute"  # stores, does not answer
    SLOW = "slow"  # stores and answers after up to a minute
    GRUMPY = "grumpy"  # refuses half of what it should take


rings_at = lru_cache(maxsize=16)(derive_slot_rings)
"""The HSDirs on their rings; placing them is the same for every run."""

_FETCHABLE = frozenset({Mood.WELL, Mood.GRUMPY})

Slot = tuple[Fingerprint, BlindedKey]


@dataclass(slots=True)
class HsDirs:
    """Every HSDir of the network."""

    loop: SimLoop
    seed: int
    timeline: Timeline
    ledger: Ledger
    moods: dict[Fingerprint, Mood] = field(default_factory=dict)
    held: dict[Slot, bytes] = field(default_factory=dict)
    _rngs: dict[Fingerprint, random.Random] = field(default_factory=dict)

    def mood(self, hsdir: Fingerprint) -> Mood:
        return self.moods.get(hsdir, Mood.WELL)

    def rng(self, hsdir: Fingerprint) -> random.Random:
        """Return the chances of one HSDir: they don't depend on the order among HSDirs."""
        return self._rngs.setdefault(hsdir, random.Random(f"{self.seed} {hsdir}"))

    def send(self, node: NodeId, hsdir: Fingerprint, document: bytes) -> asyncio.Future[bool]:
        """Put a descriptor on its way; the future is done when the answer is heard."""
        self.ledger.sent(node, hsdir, document)
        answer: asyncio.Future[bool] = self.loop.create_future()
        rng, mood = self.rng(hsdir), self.mood(hsdir)
        way_s = 0.2 + rng.expovariate(2.0)
        if mood is Mood.SLOW:
            way_s += 60.0 * rng.random()
        if mood is not Mood.DOWN:
            self.loop.after(way_s, self._arrive, hsdir, document, mood, answer)
        return answer

    def _arrive(
        self, hsdir: Fingerprint, document: bytes, mood: Mood, answer: asyncio.Future[bool]
    ) -> None:
        rng = self.rng(hsdir)
        blinded, revision, _ = read_document(document)
        held = self.held.get((hsdir, blinded))
        is_taken = held is None or read_document(held)[1] < revision
        if mood is Mood.GRUMPY and rng.random() < 0.5:
            is_taken = False
        if is_taken:
            self.held[hsdir, blinded] = document
            self.ledger.stored(hsdir, document)
        self.timeline.note(_short(hsdir), f"{'takes' if is_taken else 'refuses'} {revision}")
        if mood is not Mood.MUTE:
            self.loop.after(0.1 + rng.random() / 5, _answer, answer, is_taken)

    def fetch(self, hsdir: Fingerprint, blinded: BlindedKey) -> bytes | None:
        return self.held.get((hsdir, blinded))


def _answer(answer: asyncio.Future[bool], is_taken: bool) -> None:
    if not answer.done():
        answer.set_result(is_taken)


def _short(hsdir: Fingerprint) -> str:
    return f"hsdir-{hsdir.raw[0]}"


class ModelTor:
    """The tor of one node (`agent.ports.Tor`)."""

    def __init__(self, node: NodeId, hsdirs: HsDirs, consensus: ConsensusView) -> None:
        self._node = node
        self._hsdirs = hsdirs
        self._talks: dict[Fingerprint, asyncio.Lock] = {}
        self._consensus = consensus
        self._is_connected = True
        self.local: LocalIntroPoints | None = None
        self.on_change: Callable[[], None] = lambda: None

    @property
    def status(self) -> TorStatus:
        return TorStatus(connected=self._is_connected, version="0.4.9.11", bootstrapped=100)

    @property
    def consensus(self) -> ConsensusView | None:
        return self._consensus if self._is_connected else None

    @property
    def slot_rings(self) -> tuple[SlotRing, ...]:
        return rings_at(self._consensus) if self._is_connected else ()

    @property
    def num_visitors(self) -> int:
        return 0

    def hold(self, local: LocalIntroPoints | None) -> None:
        """Have these introduction points from now on."""
        self.local = local
        self.on_change()

    def learn(self, consensus: ConsensusView) -> None:
        """Have this consensus from now on."""
        self._consensus = consensus
        self.on_change()

    def connect(self, is_connected: bool) -> None:
        """Answer on the control port, or no longer."""
        self._is_connected = is_connected
        self.on_change()

    def restart_agent(self) -> None:
        """Forget what a process of rbcluster had asked for: it is dead."""
        self._talks = {}

    def intro_points(self, _address: OnionAddress) -> LocalIntroPoints | None:
        return self.local if self._is_connected else None

    def offer(self, _address: OnionAddress, _document: bytes) -> bool:
        return False  # the nodes' identity is shared: they have no address of their own

    async def upload(
        self,
        _address: OnionAddress,
        document: bytes,
        hsdir: Fingerprint,
        may_send: Callable[[], bool],
        timeout_s: float,
    ) -> UploadResult:
        is_sent = False
        talk = self._talks.setdefault(hsdir, asyncio.Lock())
        try:
            async with asyncio.timeout(timeout_s), talk:
                if not may_send():
                    return UploadResult(UploadOutcome.NOT_SENT, "no longer wanted")
                if not self._is_connected:
                    return UploadResult(UploadOutcome.NOT_SENT, "tor is not there")
                is_sent = True
                is_taken = await self._hsdirs.send(self._node, hsdir, document)
        except TimeoutError:
            outcome = UploadOutcome.NO_ANSWER if is_sent else UploadOutcome.NOT_SENT
            return UploadResult(outcome, "no answer in time")
        return UploadResult(UploadOutcome.UPLOADED if is_taken else UploadOutcome.REJECTED)

    async def fetch(
        self, address: OnionAddress, hsdir: Fingerprint, timeout_s: float
    ) -> FetchResult:
        way_s = 0.2 + self._hsdirs.rng(hsdir).expovariate(2.0)
        mood = self._hsdirs.mood(hsdir)
        view = self._consensus
        if mood not in _FETCHABLE or not self._is_connected or way_s > timeout_s:
            await asyncio.sleep(timeout_s)
            return FetchResult(FetchOutcome.NO_ANSWER, "silence")
        await asyncio.sleep(way_s)
        period = TimePeriod.containing(view.valid_after, view.times)
        held = self._hsdirs.fetch(hsdir, derive_blinded_key(address.identity, period))
        if held is None:
            return FetchResult(FetchOutcome.NOT_FOUND, "none")
        return FetchResult(FetchOutcome.FOUND, "", held)
