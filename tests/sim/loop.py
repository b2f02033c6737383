"""One event loop for all simulated nodes: virtual time, and for each node a clock of its own.

There is one true time. A node's clock runs at its own rate; whatever runs in the node's context
(`contextvars`: its tasks, its timers, the frames that reach it) sees only that clock, for
`loop.time` and `loop.call_at` translate. So asyncio's own time-outs, PySyncObj and the agent of one
node agree with each other, and disagree with those of the others.

A node that stands still (SIGSTOP, a paused machine) runs nothing until it is thawed; what came
meanwhile comes then, in its order.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any

from rbcluster.core.ids import NodeId

_STEP_S = 1e-6  # what one turn of the loop takes
_MAX_STEPS_IN_A_ROW = 100_000  # without waiting for anything: more is a loop that never rests

_Held = tuple[asyncio.Handle, Callable[..., object], tuple[Any, ...], Context]


@dataclass(slots=True, eq=False)
class Host:
    """Where one node runs: its clock's rate, and whether it stands still."""

    node: NodeId | None
    rate: float = 1.0  # seconds of its clock in one true second
    is_frozen: bool = False
    held_back: list[_Held] = field(default_factory=list)  # what waits for the thaw

    def context(self) -> Context:
        """Make a context in which everything is this node's."""
        context = copy_context()
        context.run(_HOST.set, self)
        return context


_HOST: ContextVar[Host] = ContextVar("host", default=Host(None))  # noqa: B039 - never changed


def current_node() -> NodeId | None:
    """Tell which node is running just now."""
    return _HOST.get().node


class SimLoop(asyncio.SelectorEventLoop):
    """The loop; its true clock starts at zero and jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0  # true seconds
        self._nobody = Context()
        super().__init__(_NoSelector(self))

    def time(self) -> float:
        return self.now * _HOST.get().rate

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        own: list[asyncio.TimerHandle] = []
        context = context or copy_context()
        timer = super().call_at(
            when / _HOST.get().rate, self._fire, own, callback, args, context, context=context
        )
        own.append(timer)
        return timer

    def after(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Call something that belongs to no node, after so many true seconds."""
        super().call_at(self.now + delay_s, callback, *args, context=self._nobody)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        host = _HOST.get() if context is None else context.get(_HOST)
        if host is None or not host.is_frozen:
            return super().call_soon(callback, *args, context=context)
        context = context or copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        host.held_back.append((handle, callback, args, context))
        return handle

    def _fire(
        self,
        own: list[asyncio.TimerHandle],
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context,
    ) -> None:
        host = _HOST.get()
        if host.is_frozen:
            host.held_back.append((own[0], callback, args, context))
        else:
            callback(*args)

    def thaw(self, host: Host) -> None:
        """Let a frozen node go on."""
        host.is_frozen = False
        held_back, host.held_back = host.held_back, []
        for handle, callback, args, context in held_back:
            if not handle.cancelled():
                self.call_soon(callback, *args, context=context)


class _NoSelector(selectors.SelectSelector):
    """Nothing in a simulation waits for a file descriptor: instead of waiting, time jumps."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__()
        self._loop = loop
        self._steps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("every task waits for something that nothing will bring")
        self._loop.now += max(timeout, _STEP_S)
        self._steps = 0 if timeout > _STEP_S else self._steps + 1
        if self._steps > _MAX_STEPS_IN_A_ROW:
            self._steps = 0  # the loop is run once more, to be closed
            raise AssertionError(f"something never rests at {self._loop.now:.3f} s")
        return []
