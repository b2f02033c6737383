"""Who wants to hear that something changed.

Not here: what changed; whoever is called looks for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Observers:
    """Callbacks, called one after the other; none of them can keep another from being called."""

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[[], None]] = {}

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called at every change.

        :returns: a function that ends it.
        """
        key = object()
        self._callbacks[key] = callback

        def unsubscribe() -> None:
            self._callbacks.pop(key, None)

        return unsubscribe

    def notify(self) -> None:
        """Say that something changed."""
        for callback in tuple(self._callbacks.values()):
            try:
                callback()
            except Exception:
                logger.exception("a bug: a subscriber of the Raft engine raised")

    async def comes_true(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until a condition on what changes holds; tell whether it does."""
        changed = asyncio.Event()
        unsubscribe = self.subscribe(changed.set)
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return condition()
        finally:
            unsubscribe()
        return True
