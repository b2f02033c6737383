"""Waiting for something that nobody announces: looking again and again, for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1


async def wait_for(look: Callable[[], Awaitable[T | None]], what: str, limit_s: float) -> T:
    """Look until there is something to see, and return it.

    :param look: None means: not yet. What it raises ends the wait.
    :param what: what is waited for, as the subject of a sentence.
    :raises TimeoutError: if it did not come about within the limit; the text says what.
    """
    try:
        async with asyncio.timeout(limit_s):
            while True:
                seen = await look()
                if seen is not None:
                    return seen
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise TimeoutError(f"{what} did not come about within {limit_s:g} s") from error
