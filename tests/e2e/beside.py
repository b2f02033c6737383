"""A story that plays beside the tests: in a thread, with an event loop of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_END_LIMIT_S = 60.0


@contextmanager
def played_beside(story: Coroutine[Any, Any, T]) -> Iterator[Future[T]]:
    """Play a story while a block lasts; yield what will come of it.

    Tests that block their own loop, or run another one, don't hold it up. If the block ends first,
    the story is cancelled, and may clean up.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="beside the tests")
    thread.start()
    outcome = asyncio.run_coroutine_threadsafe(story, loop)
    try:
        yield outcome
    finally:
        outcome.cancel()
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result(_END_LIMIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others)
