"""The bell of a level-triggered loop."""

from __future__ import annotations

import asyncio

from rbcluster.agent.wakeup import Wakeup
from tests.shared.virtual_time import run_virtually


def waited_s(*, ring_before: int = 0, ring_after_s: float | None = None, waits: int = 1) -> float:
    """How long some waits of 10 s each take together, in virtual seconds."""

    async def play() -> float:
        bell, loop = Wakeup(), asyncio.get_running_loop()
        for _ in range(ring_before):
            bell.ring()
        if ring_after_s is not None:
            loop.call_later(ring_after_s, bell.ring)
        began_at = loop.time()
        for _ in range(waits):
            await bell.wait(10.0)
        return loop.time() - began_at

    return run_virtually(play())


def test_wait_ends_when_its_time_is_over() -> None:
    assert waited_s() == 10.0


def test_wait_ends_when_the_bell_rings() -> None:
    assert waited_s(ring_after_s=3.0) == 3.0


def test_bell_that_rang_while_nobody_waited_is_not_missed() -> None:
    assert waited_s(ring_before=1) == 0.0


def test_two_rings_make_one_wakeup() -> None:
    assert waited_s(ring_before=2, waits=2) == 10.0


def test_wait_that_timed_out_leaves_no_wakeup_behind() -> None:
    assert waited_s(waits=2) == 20.0
