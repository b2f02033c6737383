from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.consensus_follower import ConsensusFollower
from tests.unit.tor.fake_control_port import FakeControlPort, make_consensus, relay, value

_MD = "GETINFO md/all"


class Following:
    """A running follower, and what it has said."""

    def __init__(self, connection: ControlConnection) -> None:
        self._changed = asyncio.Event()
        self.follower = ConsensusFollower(None, self._changed.set)
        self.task = asyncio.create_task(self.follower.run(connection, testing_network=False))

    @property
    def num_hsdirs(self) -> int:
        return 0 if self.follower.view is None else len(self.follower.view.hsdirs)

    @property
    def minute(self) -> int | None:
        return None if self.follower.view is None else self.follower.view.valid_after.minute

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a follower wait for hundredths of a second only."""
    module = "rbcluster.tor.consensus_follower"
    monkeypatch.setattr(f"{module}._READ_AGAIN_AFTER_S", (0.01, 0.02))
    monkeypatch.setattr(f"{module}._RETRY_S", 0.01)
    monkeypatch.setattr(f"{module}._SAFETY_NET_S", 0.01)


@pytest.fixture
async def following(port: FakeControlPort, directory: Path) -> AsyncIterator[Following]:
    port.set_consensus(make_consensus(*range(1, 21)))
    async with open_connection(directory / "control", print) as connection:
        running = Following(connection)
        yield running
        running.task.cancel()
        await asyncio.wait([running.task])


async def test_a_consensus_without_microdescriptors_is_no_view_yet(
    port: FakeControlPort, following: Following
) -> None:
    await following.until(lambda: bool(following.follower.warning))
    assert "no microdescriptor of any HSDir yet" in following.follower.warning
    port.set_consensus(make_consensus(1, 2), 1, 2)
    await following.until(lambda: following.num_hsdirs == 2)
    assert following.follower.warning == ""


async def test_microdescriptors_that_come_later_are_found(
    port: FakeControlPort, following: Following
) -> None:
    consensus = make_consensus(*range(1, 21))
    port.set_consensus(consensus, 1, 2)
    await following.until(lambda: following.num_hsdirs == 2)
    port.set_consensus(consensus, 1, 2, 3)
    await following.until(lambda: following.num_hsdirs == 3)
    following.follower.on_new_consensus()
    view = following.follower.view
    assert view is not None
    assert [hsdir.fingerprint for hsdir in view.hsdirs] == [relay(1), relay(2), relay(3)]


async def test_a_whole_new_consensus_is_taken_at_once(
    port: FakeControlPort, following: Following
) -> None:
    port.set_consensus(make_consensus(*range(1, 21)), *range(1, 21))
    await following.until(lambda: following.num_hsdirs == 20)
    port.set_consensus(make_consensus(*range(1, 22), valid_after="15:30:00"), *range(1, 20))
    reads = sum(line == _MD for line in port.requests)
    following.follower.on_new_consensus()
    await following.until(lambda: following.minute == 30)
    assert following.num_hsdirs == 19
    assert sum(line == _MD for line in port.requests) == reads + 1


async def test_a_new_consensus_without_its_microdescriptors_waits_for_a_second_reading(
    port: FakeControlPort, following: Following
) -> None:
    port.set_consensus(make_consensus(*range(1, 21)), *range(1, 21))
    await following.until(lambda: following.num_hsdirs == 20)
    port.set_consensus(make_consensus(*range(1, 21), valid_after="15:30:00"), 1, 2, 3)
    reads = sum(line == _MD for line in port.requests)
    following.follower.on_new_consensus()
    await following.until(lambda: following.minute == 30)
    assert following.num_hsdirs == 3  # no more of them came: that is what there is
    assert sum(line == _MD for line in port.requests) >= reads + 2


async def test_a_consensus_is_found_without_any_event(
    port: FakeControlPort, following: Following
) -> None:
    port.set_consensus(make_consensus(1), 1)
    await following.until(lambda: following.minute == 0)
    await port.asked("GETINFO consensus/valid-after", times=2)
    port.set_consensus(make_consensus(1, valid_after="15:30:00"), 1)
    port.answers["GETINFO consensus/valid-after"] = value(
        "consensus/valid-after", "2026-03-01 15:30:00"
    )
    await following.until(lambda: following.minute == 30)


async def test_a_malformed_consensus_is_a_warning_and_the_old_one_stays(
    port: FakeControlPort, following: Following
) -> None:
    port.set_consensus(make_consensus(1), 1)
    await following.until(lambda: following.minute == 0)
    port.set_consensus(b"nonsense\n", 1)
    following.follower.on_new_consensus()
    await following.until(lambda: bool(following.follower.warning))
    assert following.num_hsdirs == 1
