"""An event loop whose clock jumps: seconds and hours of waiting take no time, in a fixed order.

When nothing is ready, the loop's clock moves to the next timer. Whatever reads the time from the
loop (or from `VirtualClock`) sees one consistent world. Unix sockets between tasks of a loop work,
since what one writes the other can read at once; no other I/O is waited for: a test that would
wait for ever fails instead.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from rbcluster.core.ids import UnixMs
from rbcluster.instants import Monotonic

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on a virtual clock that starts at zero."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        self._virtual_now += seconds

    def run_in_executor(  # type: ignore[override]  # typeshed's is overloaded by variadics
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Do at once what otherwise a thread does meanwhile."""
        assert executor is None
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is for whoever awaits it
            future.set_exception(error)
        return future


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("every task waits for something that nothing will bring")
            self._loop.jump(max(0.0, timeout))
        return ready


class VirtualClock:
    """A node's clocks in the virtual world; `skew_s` puts its wall clock wrong."""

    def __init__(self, started_at: UnixMs, skew_s: float = 0.0) -> None:
        self._started_at = started_at
        self.skew_s = skew_s

    def monotonic(self) -> Monotonic:
        return Monotonic(asyncio.get_running_loop().time())

    def wall_ms(self) -> UnixMs:
        return UnixMs(self._started_at + round(1000 * (self.monotonic() + self.skew_s)))


def unix_ms(instant: datetime) -> UnixMs:
    """An aware instant in the form of replicated state."""
    return UnixMs(round(instant.timestamp() * 1000))


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
