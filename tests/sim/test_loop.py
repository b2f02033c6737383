"""Clocks of nodes: each runs at its own rate, and stands still with its node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from rbcluster.core.ids import NodeId
from tests.sim.loop import Host, SimLoop, current_node

FAST = Host(NodeId("fast"), rate=1.01)
SLOW = Host(NodeId("slow"), rate=0.99)


@dataclass(frozen=True, slots=True)
class Slept:
    node: NodeId | None
    own_s: float
    true_s: float


async def sleep_and_look(seconds: float) -> Slept:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    began, truly = loop.time(), loop.now
    await asyncio.sleep(seconds)
    return Slept(current_node(), loop.time() - began, loop.now - truly)


def test_a_node_sleeps_by_its_own_clock() -> None:
    async def both() -> list[Slept]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.create_task(sleep_and_look(100.0), context=h.context()) for h in (FAST, SLOW))
        )

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        fast, slow = runner.run(both())
    assert (fast.node, slow.node) == (FAST.node, SLOW.node)
    assert fast.own_s == pytest.approx(100.0)
    assert slow.own_s == pytest.approx(100.0)
    assert fast.true_s == pytest.approx(100.0 / 1.01)
    assert slow.true_s == pytest.approx(100.0 / 0.99)


def test_what_is_due_while_a_node_stands_still_comes_when_it_goes_on() -> None:
    host = Host(NodeId("frozen"))
    order: list[str] = []

    async def live() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        context = host.context()
        host.is_frozen = True
        loop.call_later(1.0, order.append, "timer", context=context)
        cancelled = loop.call_soon(order.append, "cancelled", context=context)
        loop.call_soon(order.append, "at once", context=context)
        cancelled.cancel()
        await asyncio.sleep(2.0)
        assert order == []
        loop.thaw(host)
        await asyncio.sleep(0.1)

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(live())
    assert order == ["at once", "timer"]


def test_a_loop_that_never_rests_is_found() -> None:
    async def spin() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.sleep(1.0)

    with (
        pytest.raises(AssertionError, match="never rests"),
        asyncio.Runner(loop_factory=SimLoop) as runner,
    ):
        runner.run(spin())
