"""The office holder's main duty: make what HSDirs hold equal to what `plan` wants.

Level-triggered: at every bell it recomputes the plan, asks `decide` what to do about each
descriptor, and starts a round (`upload_round.py`) where one is due. It owns no truth: what was
reserved and accepted stands in the replicated state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from rbcluster.agent.planner import Planner
from rbcluster.agent.upload_round import RoundContext, UploadRoundRunner
from rbcluster.agent.wakeup import Wakeup
from rbcluster.core.decide import Publish, Wait, decide
from rbcluster.core.ids import UnixMs
from rbcluster.core.plan import WantedDescriptor
from rbcluster.core.state import PublicationKey

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0  # looks again though no bell rang and no deadline came


@dataclass(slots=True)
class _Running:
    """A round under way, and the task that carries it."""

    runner: UploadRoundRunner
    task: asyncio.Task[None]


@dataclass(slots=True)
class Publisher:
    """Publishes while this node holds the office."""

    context: RoundContext
    planner: Planner
    wakeup: Wakeup
    _running: dict[PublicationKey, _Running] = field(default_factory=dict)
    _differs_since: dict[PublicationKey, UnixMs] = field(default_factory=dict)

    async def run(self) -> None:
        """Publish for ever, when in office; cancelled, it breaks off the rounds under way."""
        async with asyncio.TaskGroup() as rounds:
            while True:
                deadline_s = self._look(rounds)
                await self.wakeup.wait(deadline_s)

    def _look(self, rounds: asyncio.TaskGroup) -> float:
        """Start the rounds that are due; return the seconds until the next look."""
        context = self.context
        slot_rings = context.tor.slot_rings
        if not context.may_publish() or not slot_rings:
            self._keep_only(frozenset())
            return LOOK_EVERY_S
        next_look_s = LOOK_EVERY_S
        # A service without a key here waits for a node that has it (`readiness.py` says so).
        everything = self.planner.plan(context.cluster.state, slot_rings)
        plan = [wanted for wanted in everything if context.keyring.has(wanted.service)]
        self._keep_only(frozenset(wanted.key for wanted in plan))
        for wanted in plan:
            wait = self._consider(wanted, rounds)
            if wait is not None and wait.until is not None:
                remaining_s = (wait.until - context.clock.wall_ms()) / 1000
                next_look_s = min(next_look_s, max(0.0, remaining_s))
        return next_look_s

    def _consider(self, wanted: WantedDescriptor, rounds: asyncio.TaskGroup) -> Wait | None:
        """Start a round for one descriptor if it is due, else return what is waited for."""
        context, key = self.context, wanted.key
        running = self._running.get(key)
        if running and running.task.done():
            running = None
        if running and running.runner.is_reserving:
            return None  # its reservation is on its way through the log
        state = context.cluster.state
        decision = decide(
            wanted,
            state.publications.get(key),
            state.policy,
            term=context.cluster.view.term,
            differs_since=self._note_difference(wanted),
            now=context.clock.wall_ms(),
            is_carried=running is not None,
        )
        if isinstance(decision, Wait):
            return decision
        self._retire(key)
        self._start(wanted, decision, rounds)
        return None

    def _start(
        self, wanted: WantedDescriptor, decision: Publish, rounds: asyncio.TaskGroup
    ) -> None:
        runner = UploadRoundRunner(self.context, wanted, decision)
        task = rounds.create_task(runner.run())
        task.add_done_callback(lambda _: self.wakeup.ring())
        self._running[wanted.key] = _Running(runner, task)

    def _note_difference(self, wanted: WantedDescriptor) -> UnixMs | None:
        """Remember since when the descriptor reserved last shows something else than wanted."""
        publication = self.context.cluster.state.publications.get(wanted.key)
        reservation = publication.reservation if publication else None
        if reservation and reservation.digest == wanted.digest_for(reservation.hsdirs):
            self._differs_since.pop(wanted.key, None)
            return None
        return self._differs_since.setdefault(wanted.key, self.context.clock.wall_ms())

    def _retire(self, key: PublicationKey) -> None:
        """Make a round send nothing more; what is in flight runs to its answer."""
        running = self._running.pop(key, None)
        if running:
            running.runner.retire()

    def _keep_only(self, keys: Collection[PublicationKey]) -> None:
        """Retire the rounds of all other descriptors: the office, or their period, is over."""
        for key in self._running.keys() - keys:
            self._retire(key)
        for key in self._differs_since.keys() - keys:
            del self._differs_since[key]
