"""A bell for level-triggered loops: ring it whenever something may have changed.

Each loop recomputes what should be from all its inputs, acts, and waits for the bell or for its
next deadline. Ringing twice, or for nothing, does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib


class Wakeup:
    """What one loop waits on."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Make the loop look again."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until the bell rings, at most `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        self._event.clear()
