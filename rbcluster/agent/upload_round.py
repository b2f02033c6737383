"""One round: reserve a revision, upload to every responsible HSDir, record who holds it.

::

    learn the floor -> reserve (committed by Raft) -> build, sign, post, one encoding per HSDir
          ^                                                   |
          |   an HSDir holds more: raise the floor            v
          +------------------------------------- record who accepted; retry the silent ones

The committed reservation is the fencing token: before each post the node checks that it still
leads in the term that reserved. Should leadership be lost on the very line after, what goes out
bears a revision that any later leader's is above, and HSDirs keep the higher one.

What happens to each HSDir within the round is `core/round.py`, a pure value.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from rbcluster.agent.clock import Clock, to_instant
from rbcluster.agent.keyring import Keyring
from rbcluster.agent.office import holds_office
from rbcluster.agent.ports import Cluster, Tor
from rbcluster.agent.revision_floor import FloorFinder
from rbcluster.core.codec import MAX_REASON_CHARS, encode_command
from rbcluster.core.commands import Applied, Command, RecordRound, ReservePublication
from rbcluster.core.decide import Publish
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.core.plan import WantedDescriptor
from rbcluster.core.round import UploadInput, UploadRound
from rbcluster.core.state import Publication, Reservation
from rbcluster.errors import RbclusterError
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.randomness import RandomSource
from rbcluster.hs.revision import RevisionCounter
from rbcluster.instants import Monotonic
from rbcluster.raft.proposal import Outcome
from rbcluster.tor.descriptor_upload import UploadOutcome, UploadResult

_LOG = logging.getLogger(__name__)

PROPOSE_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0  # an HSDir silent for longer: unknown, the same revision is sent again
RETRY_S = 1.0  # after a reservation that was not taken
RECORD_EVERY_S = 1.0  # while answers trickle in, what is known is recorded at most this often
HOPELESS_PAUSE_S = 600.0  # after HSDirs refused all that could be tried; a change still goes out

_WHAT_HAPPENED: Mapping[UploadOutcome, UploadInput] = MappingProxyType(
    {
        UploadOutcome.UPLOADED: UploadInput.UPLOADED,
        UploadOutcome.REJECTED: UploadInput.REJECTED,
        UploadOutcome.NOT_SENT: UploadInput.NOT_SENT,
        UploadOutcome.NO_ANSWER: UploadInput.NO_ANSWER,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundContext:
    """What every round needs."""

    node: NodeId
    cluster: Cluster
    tor: Tor
    keyring: Keyring
    floors: FloorFinder
    clock: Clock
    rng: RandomSource
    is_clock_trusted: Callable[[], bool]  # else nothing is published

    def may_publish(self) -> bool:
        """Tell whether this node holds the office, and a clock that revisions can go by."""
        return holds_office(self.cluster, self.node) and self.is_clock_trusted()


class UploadRoundRunner:
    """Carries out one decision to publish one descriptor."""

    def __init__(self, context: RoundContext, wanted: WantedDescriptor, decision: Publish) -> None:
        self._context = context
        self._wanted = wanted
        self._decision = decision
        self._retired = False
        self.is_reserving = True  # the replicated state does not show this round yet

    def retire(self) -> None:
        """Send nothing more; uploads in flight are waited for, so that none overtakes another."""
        self._retired = True

    async def run(self) -> None:
        """Carry the round to its end; nothing it meets is raised."""
        try:
            reservation = await self._reserve()
            if reservation is None:
                await asyncio.sleep(RETRY_S)  # a pause between attempts, not a wait for anything
                return
            self.is_reserving = False
            await self._upload(reservation)
        except RbclusterError as error:
            _LOG.warning("a round of uploads was broken off (the next one repairs it): %s", error)
            await asyncio.sleep(RETRY_S)
        except Exception:  # noqa: BLE001 - logged as a bug; the publisher begins anew
            _LOG.exception("a bug: a round of uploads failed")
            await asyncio.sleep(RETRY_S)
        finally:
            self.is_reserving = False

    # --- reserving

    async def _reserve(self) -> Reservation | None:
        """Have a revision committed for this round; None if it was not."""
        context, wanted = self._context, self._wanted
        publication = self._publication()
        if publication is None:
            held = await context.floors.held_elsewhere(wanted)
            if held is not None:
                await self._propose(context.floors.raise_to(wanted, held))
                publication = self._publication()
        now = context.clock.wall_ms()
        keys = context.keyring.for_period(wanted.service, wanted.slot_time.period)
        revision = keys.scheme.revision_for(wanted.slot_time, to_instant(now))
        if publication is not None:
            revision = max(revision, RevisionCounter(publication.floor + 1))
        reservation = Reservation(
            slot=wanted.slot_time.slot,
            revision=revision,
            digest=wanted.digest,
            node=context.node,
            term=context.cluster.view.term,
            reserved_at=now,
            hsdirs=wanted.hsdirs,
            auth_keys=tuple(placed.point.auth_key for placed in wanted.points),
        )
        taken = await self._propose(
            ReservePublication(
                service=wanted.service,
                period=wanted.slot_time.period,
                reservation=reservation,
                is_withdrawal=self._decision.is_withdrawal,
            )
        )
        return reservation if taken else None

    def _publication(self) -> Publication | None:
        return self._context.cluster.state.publications.get(self._wanted.key)

    async def _propose(self, command: Command) -> bool:
        result = await self._context.cluster.propose(encode_command(command), PROPOSE_TIMEOUT_S)
        if result.outcome is Outcome.COMMITTED and isinstance(result.verdict, Applied):
            return True
        _LOG.info("%s was not taken: %s", type(command).__name__, result.detail or result.verdict)
        return False

    # --- uploading

    def _may_send(self, reservation: Reservation) -> bool:
        """Check the fencing token: still in office, and the reservation still the last one."""
        publication = self._publication()
        return (
            not self._retired
            and self._context.may_publish()
            and self._may_record(reservation)
            and publication is not None
            and publication.floor == reservation.revision
        )

    def _may_record(self, reservation: Reservation) -> bool:
        """Tell whether what becomes of this round still counts."""
        cluster, publication = self._context.cluster, self._publication()
        return (
            holds_office(cluster, self._context.node)
            and cluster.view.term == reservation.term
            and publication is not None
            and publication.reservation == reservation
        )

    async def _upload(self, reservation: Reservation) -> None:
        """Carry a reserved round to its end, and see to it that the next one fares better."""
        in_flight: dict[asyncio.Task[UploadResult], Fingerprint] = {}
        try:
            round_ = await self._post_to_all(reservation, in_flight)
        finally:
            await _break_off(in_flight)
        if not self._may_send(reservation):
            return
        if round_.overtaken:
            await self._rise_above(reservation, round_)
        else:
            self._context.floors.forget(self._wanted.key)

    async def _post_to_all(
        self, reservation: Reservation, in_flight: dict[asyncio.Task[UploadResult], Fingerprint]
    ) -> UploadRound:
        """Post to every HSDir until each holds the revision, or the round is overtaken.

        :param in_flight: the uploads under way; empty on return.
        """
        clock, tor = self._context.clock, self._context.tor
        refresh_at, had_tor = self._draw_refresh(reservation), True
        round_ = UploadRound.over(reservation.hsdirs)
        recorded = Recorded(due_at=Monotonic(clock.monotonic() + RECORD_EVERY_S))
        while True:
            now = clock.monotonic()
            if tor.status.is_usable and not had_tor:
                round_ = round_.hurried(now)
            had_tor = tor.status.is_usable
            may_send = self._may_send(reservation)
            for hsdir in round_.next_sends(now) if may_send else ():
                round_ = round_.step(hsdir, UploadInput.SENT, now)
                in_flight[self._post(reservation, hsdir)] = hsdir
            is_news = recorded.is_outdated(round_) and self._may_record(reservation)
            if is_news and (not in_flight or now >= recorded.due_at):
                recorded = replace(recorded, due_at=Monotonic(now + RECORD_EVERY_S))
                if await self._record(reservation, round_, refresh_at):
                    recorded = Recorded.of(round_, due_at=recorded.due_at)
            is_done = round_.is_complete and not recorded.is_outdated(round_)
            if not in_flight and (not may_send or is_done):
                return round_
            for task in await _answered(in_flight, at_most_s=RECORD_EVERY_S):
                result = task.result()
                happened = _WHAT_HAPPENED[result.outcome]
                hsdir = in_flight.pop(task)
                round_ = round_.step(hsdir, happened, clock.monotonic(), result.detail)

    def _post(self, reservation: Reservation, hsdir: Fingerprint) -> asyncio.Task[UploadResult]:
        """Start one upload, in an encoding of its own as tor does."""
        return asyncio.create_task(self._build_and_post(reservation, hsdir))

    async def _build_and_post(self, reservation: Reservation, hsdir: Fingerprint) -> UploadResult:
        context, wanted = self._context, self._wanted
        period = wanted.slot_time.period
        content = DescriptorContent(
            identity=wanted.service.identity,
            period=period,
            keypair=context.keyring.for_period(wanted.service, period).keypair,
            revision=reservation.revision,
            points=tuple(placed.point for placed in wanted.points),
            traits=wanted.traits,
        )
        document = build_descriptor(content, to_instant(context.clock.wall_ms()), context.rng)
        return await context.tor.upload(
            wanted.service,
            document,
            hsdir,
            may_send=partial(self._may_send, reservation),
            timeout_s=ANSWER_TIMEOUT_S,
        )

    def _draw_refresh(self, reservation: Reservation) -> UnixMs:
        """Choose when to renew what this round uploads: once, for it ages from its beginning."""
        context = self._context
        policy = context.cluster.state.policy
        age_ms = _uniform(policy.refresh_min_ms, policy.refresh_max_ms, context.rng)
        return UnixMs(reservation.reserved_at + age_ms)

    async def _record(
        self, reservation: Reservation, round_: UploadRound, refresh_at: UnixMs
    ) -> bool:
        """Replicate who holds the revision; tell whether that worked."""
        context = self._context
        _LOG.info(
            "round slot=%s revision=%d: %d of %d HSDirs accepted",
            reservation.slot.value,
            reservation.revision,
            len(round_.accepted),
            len(reservation.hsdirs),
        )
        return await self._propose(
            RecordRound(
                service=self._wanted.service,
                period=self._wanted.slot_time.period,
                revision=reservation.revision,
                accepted=round_.accepted,
                refused={hsdir: _in_short(why) for hsdir, why in round_.failures.items()},
                finished_at=context.clock.wall_ms(),
                refresh_at=refresh_at,
                office_node=context.node,
                office_term=reservation.term,
            )
        )

    async def _rise_above(self, reservation: Reservation, round_: UploadRound) -> None:
        """Raise the floor above what an HSDir holds; the next look starts a new round."""
        command = await self._context.floors.above(self._wanted, round_.overtaken)
        if not self._may_send(reservation):
            return  # a newer round is under way: what HSDirs hold may be its revision
        if command is not None:
            await self._propose(command)
        else:
            await asyncio.sleep(HOPELESS_PAUSE_S)  # this round counts as under way meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What of a round is in the replicated state already."""

    accepted: frozenset[Fingerprint] = frozenset()
    failures: Mapping[Fingerprint, str] = field(default_factory=dict)
    due_at: Monotonic  # when to record again though answers are outstanding

    @classmethod
    def of(cls, round_: UploadRound, due_at: Monotonic) -> Recorded:
        """Say that all of a round is recorded now."""
        return cls(accepted=round_.accepted, failures=round_.failures, due_at=due_at)

    def is_outdated(self, round_: UploadRound) -> bool:
        """Tell whether more is known."""
        return (self.accepted, self.failures) != (round_.accepted, round_.failures)


async def _answered(
    tasks: Collection[asyncio.Task[UploadResult]], at_most_s: float
) -> set[asyncio.Task[UploadResult]]:
    """Wait for an answer; return those there are when the time is over."""
    if not tasks:
        await asyncio.sleep(at_most_s)  # until an HSDir's back-off may have ended
        return set()
    done, _ = await asyncio.wait(tasks, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    return done


async def _break_off(tasks: Collection[asyncio.Task[UploadResult]]) -> None:
    """End uploads that nobody waits for any more, and see what became of them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _in_short(why: str) -> str:
    """Bring tor's words into what a command may carry: short and printable."""
    return "".join(filter(str.isprintable, why))[:MAX_REASON_CHARS]


def _uniform(low: int, high: int, rng: RandomSource) -> int:
    """Draw uniformly from low..high (the bias over 64 random bits is nothing)."""
    return low + int.from_bytes(rng(8), "big") % (high - low + 1)
