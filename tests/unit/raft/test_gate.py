"""Room for strangers, in virtual time."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine

import pytest

from rbcluster.raft.frames import FrameError
from rbcluster.raft.gate import Gate, TurnedAway
from rbcluster.raft.limits import (
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_S,
    MAX_HANDSHAKES_PER_SOURCE,
)
from tests.shared.virtual_time import run_virtually


class Door:
    """A gate, and strangers who stay until they are sent away."""

    def __init__(self) -> None:
        self.turned_away: Counter[TurnedAway] = Counter()
        self.gate = Gate(self.turn_away)
        self.inside: list[asyncio.Task[None]] = []

    def turn_away(self, why: TurnedAway) -> None:
        self.turned_away[why] += 1

    async def knock(self, source: str) -> bool:
        if not self.gate.has_room(source):
            return False
        attempt = asyncio.create_task(asyncio.sleep(1e6))
        self.gate.enter(attempt, source)
        self.inside.append(attempt)
        await asyncio.sleep(0)  # who was cancelled is gone
        self.inside = [each for each in self.inside if not each.done()]
        return True


def virtually(story: Callable[[Door], Coroutine[None, None, None]]) -> None:
    async def tell() -> None:
        door = Door()
        try:
            await story(door)
        finally:
            for each in door.inside:
                each.cancel()

    run_virtually(tell())


def test_there_is_room_for_a_few_and_for_fewer_from_one_source() -> None:
    async def story(door: Door) -> None:
        came = [await door.knock("one") for _ in range(MAX_HANDSHAKES_PER_SOURCE + 1)]
        assert came == [True] * MAX_HANDSHAKES_PER_SOURCE + [False]
        others = [await door.knock(f"other {i}") for i in range(MAX_HANDSHAKES)]
        assert others.count(True) == MAX_HANDSHAKES - MAX_HANDSHAKES_PER_SOURCE
        assert len(door.inside) == MAX_HANDSHAKES
        assert door.turned_away == {TurnedAway.CROWDED: 1 + others.count(False)}

    virtually(story)


def test_whoever_leaves_makes_room() -> None:
    async def story(door: Door) -> None:
        for _ in range(MAX_HANDSHAKES_PER_SOURCE):
            await door.knock("one")
        door.gate.leave(door.inside[0])
        assert await door.knock("one")
        assert not await door.knock("one")

    virtually(story)


@pytest.mark.parametrize("is_one_source", [True, False])
def test_an_attempt_of_a_second_gives_way_to_a_newer_one(is_one_source: bool) -> None:
    async def story(door: Door) -> None:
        num = MAX_HANDSHAKES_PER_SOURCE if is_one_source else MAX_HANDSHAKES
        for number in range(num):
            await door.knock("one" if is_one_source else f"{number}")
        first, second = door.inside[:2]
        await asyncio.sleep(0.9)
        assert not await door.knock("one")
        await asyncio.sleep(0.2)
        assert await door.knock("one")
        assert first.cancelled()
        assert not second.done()
        assert len(door.inside) == num
        assert door.turned_away == {TurnedAway.CROWDED: 2}

    virtually(story)


def test_only_so_many_may_begin_in_a_second() -> None:
    async def story(door: Door) -> None:
        num_begun = 0
        for number in range(20 * MAX_HANDSHAKES_PER_S):
            if await door.knock(f"{number}"):
                num_begun += 1
                door.gate.leave(door.inside[-1])
                door.inside.pop().cancel()
            await asyncio.sleep(0.1 / MAX_HANDSHAKES_PER_S)  # ten times as fast as they may
        assert num_begun == pytest.approx(3 * MAX_HANDSHAKES_PER_S, abs=1)  # at once, and in 2 s

    virtually(story)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TimeoutError(), TurnedAway.SILENT),
        (ssl.SSLError(1, "no certificate"), TurnedAway.TLS),
        (ConnectionResetError(), TurnedAway.BROKEN),
        (asyncio.IncompleteReadError(b"", 4), TurnedAway.BROKEN),
        (FrameError("it is b, not a"), TurnedAway.MISFIT),
        (ValueError("its certificate does not hold exactly one name"), TurnedAway.MISFIT),
    ],
    ids=str,
)
def test_a_failure_has_one_name(error: Exception, why: TurnedAway) -> None:
    assert TurnedAway.because_of(error) is why
