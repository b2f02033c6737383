from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from rbcluster.lab.waiting import wait_for


def seen_at(turn: int) -> Callable[[], Awaitable[str | None]]:
    turns = iter(range(1, turn + 1))

    async def look() -> str | None:
        return "it" if next(turns) == turn else None

    return look


@pytest.mark.parametrize("turn", [1, 3])
async def test_waiting_returns_what_is_seen_at_last(turn: int) -> None:
    assert await wait_for(seen_at(turn), "it", limit_s=30) == "it"


async def test_waiting_ends_at_its_limit_and_says_for_what() -> None:
    async def look() -> None:
        return None

    with pytest.raises(TimeoutError, match=r"^snow did not come about within 0\.01 s$"):
        await wait_for(look, "snow", limit_s=0.01)


async def test_an_error_while_looking_ends_the_wait() -> None:
    async def look() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await wait_for(look, "it", limit_s=30)
