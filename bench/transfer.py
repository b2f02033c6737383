"""For how long nobody can publish when the leadership moves on purpose: real engines, TLS, fsync.

Run: ``python -m bench.transfer [--trials 20]``. Prints median and 95th percentile.

- ``rbcluster transfer``: an operator asks on a follower
- ``SIGTERM``: the leader hands over and stops, as the daemon does, and is started again

Three nodes in one process, each with its own agent; only their tors are models. Able to publish is
whoever gets a command of the office holder's committed, which is what a publication begins with.
The gap lies between the last such command of the old leader and the first of the new.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import MIN_TRIALS, milliseconds, show, show_heading
from rbcluster.agent.clock import SystemClock
from rbcluster.agent.keyring import Keyring
from rbcluster.agent.machine_facts import MachineFacts
from rbcluster.agent.node import Node
from rbcluster.agent.office import holds_office
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, SeedCluster, SetPresence, Verdict
from rbcluster.core.ids import NodeId
from rbcluster.core.plan import SlotRing, derive_slot_rings
from rbcluster.core.state import ClusterState, Member, Policy, Presence
from rbcluster.daemon import STATE_MACHINE
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.settings import RaftSettings
from rbcluster.tor.descriptor_fetch import FetchOutcome, FetchResult
from rbcluster.tor.descriptor_upload import UploadOutcome, UploadResult
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.settings import TorStatus
from tests.shared.local_cluster import make_settings
from tests.unit.agent.world import consensus

NAMES = tuple(map(NodeId, "abc"))
LIMIT_S = 10.0
REST_S = 1.5  # between two trials: every heartbeat was heard again


class ModelTor:
    """A tor that is well and serves nothing."""

    status = TorStatus(connected=True, version="model", bootstrapped=100)
    num_visitors = 0

    @property
    def consensus(self) -> ConsensusView:
        """A network of this hour."""
        return consensus(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))

    @property
    def slot_rings(self) -> tuple[SlotRing, ...]:
        """Of that network."""
        return derive_slot_rings(self.consensus)

    def intro_points(self, address: OnionAddress) -> LocalIntroPoints:  # noqa: ARG002
        """None at all."""
        return LocalIntroPoints.none()

    def offer(self, address: OnionAddress, document: bytes) -> bool:  # noqa: ARG002
        """Take nothing: it serves nothing."""
        return False

    async def upload(
        self,
        address: OnionAddress,  # noqa: ARG002
        document: bytes,  # noqa: ARG002
        hsdir: Fingerprint,  # noqa: ARG002
        may_send: Callable[[], bool],  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
    ) -> UploadResult:
        """Take it."""
        return UploadResult(UploadOutcome.UPLOADED)

    async def fetch(
        self,
        address: OnionAddress,  # noqa: ARG002
        hsdir: Fingerprint,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
    ) -> FetchResult:
        """Find nothing."""
        return FetchResult(FetchOutcome.NOT_FOUND, "a model")


class Runner:
    """One node that can be stopped as the daemon stops, and started again."""

    def __init__(self, settings: RaftSettings, seed: SeedCluster) -> None:
        self._settings = settings
        self._seed = seed

    async def start(self) -> None:
        """Start it with what it has on disk."""
        name = self._settings.node
        self.engine: RaftEngine[ClusterState, Verdict] = RaftEngine(
            self._settings, STATE_MACHINE, on_message=self._hear
        )
        self.node = Node(
            name,
            cluster=self.engine,
            tor=ModelTor(),
            keyring=Keyring({}),
            seed=self._seed,
            clock=SystemClock(),
            rng=os.urandom,
            machine=MachineFacts(),
        )
        await self.engine.start()
        self._loops = asyncio.create_task(self.node.run())

    def _hear(self, sender: NodeId, payload: bytes) -> None:
        self.node.hear(sender, payload)  # which is made after the engine

    async def stop(self) -> None:
        """Hand over and stop."""
        await self.node.office.leave_office()
        self._loops.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loops
        await self.engine.stop()

    @property
    def is_in_office(self) -> bool:
        """Whether it believes so."""
        return holds_office(self.engine, self.node.node)

    async def can_publish(self) -> bool:
        """Tell whether it gets an office holder's command committed now."""
        if not self.is_in_office:
            return False
        command = SetPresence(
            node=self.node.node,
            presence=Presence.LIVE,
            office_node=self.node.node,
            office_term=self.engine.view.term,
        )
        result = await self.engine.propose(encode_command(command), LIMIT_S)
        return result.verdict == Applied()


class Meter:
    """Tries all the time whether somebody can publish, and remembers the longest gap."""

    def __init__(self, runners: dict[NodeId, Runner]) -> None:
        self._runners = runners
        self.longest_s = 0.0
        self._last_at = time.monotonic()

    async def run(self) -> None:
        """Try for ever."""
        while True:
            for runner in self._runners.values():
                if await runner.can_publish():
                    now = time.monotonic()
                    self.longest_s = max(self.longest_s, now - self._last_at)
                    self._last_at = now
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[dict[NodeId, Runner]]:
    """Run three nodes."""
    seed = SeedCluster(
        name="bench",
        members=tuple(Member(node=name, address=f"{name}:1") for name in NAMES),
        services={},
        policy=Policy(),
    )
    settings = make_settings(directory, "abc")
    runners = {name: Runner(settings[name], seed) for name in NAMES}
    for runner in runners.values():
        await runner.start()
    try:
        yield runners
    finally:
        for runner in runners.values():
            await runner.stop()


async def leader(runners: dict[NodeId, Runner]) -> Runner:
    """Wait for the node in office."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for runner in runners.values():
                if runner.is_in_office:
                    return runner
            await asyncio.sleep(0.01)


async def measure(
    name: str, runners: dict[NodeId, Runner], trials: int, move: Callable[[Runner], Awaitable[None]]
) -> None:
    """Move the leadership, again and again, and print what came of it."""
    gaps: list[float] = []
    for _ in range(trials):
        old = await leader(runners)
        await asyncio.sleep(REST_S)
        meter = Meter(runners)
        metering = asyncio.create_task(meter.run())
        await asyncio.sleep(0.1)
        await move(old)
        assert await leader(runners) is not old
        await asyncio.sleep(0.1)
        metering.cancel()
        gaps.append(meter.longest_s)
    show(name, milliseconds(gaps), "ms")


async def main(trials: int) -> None:
    """Run everything on one cluster."""
    print("Nobody can publish for:")
    show_heading()
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory)) as runners:

            async def ask(old: Runner) -> None:
                other = next(runner for runner in runners.values() if runner is not old)
                await other.node.operator.transfer(None)

            async def restart(old: Runner) -> None:
                await old.stop()
                await old.start()

            await measure("rbcluster transfer", runners, trials, ask)
            await measure("SIGTERM", runners, trials, restart)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of the hand-over.")
    parser.add_argument("--trials", type=int, default=MIN_TRIALS)
    asyncio.run(main(parser.parse_args().trials))
