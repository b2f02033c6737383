"""Many visits of one page: so many in all, or one after the other for as long as something lasts.

Not here: a single visit (`visitor.py`).

Overview::

    visit_often        a number of visits, some of them at once
    steady_visits      one visit after the other while a block lasts
    further_visits     wait until a steady visitor has come by some more times
    longest_pause_s    what a steady visitor had to wait
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, pairwise

from rbcluster.hs.address import OnionAddress
from rbcluster.lab.visitor import Visit, Visitor
from rbcluster.lab.waiting import wait_for

VISITS_AT_ONCE = 4
FURTHER_VISITS = 10
FURTHER_LIMIT_S = 90.0  # a visit may hang for a minute


def _ignore(_: int) -> None:
    """Hear no progress."""


async def visit_often(
    visitor: Visitor,
    address: OnionAddress,
    num: int,
    *,
    refetch: bool = False,
    progress: Callable[[int], None] = _ignore,
) -> list[Visit]:
    """Visit a page by fresh circuits; the descriptor is fetched anew at least before the first.

    :param refetch: fetch it anew before every visit. These are made one by one: whoever drops a
        descriptor takes it from all visits under way.
    :param progress: called with the number of visits so far.
    :returns: the visits in the order of their ends.
    """
    await visitor.forget_descriptor(address)
    visits: list[Visit] = []
    turns = iter(range(num))

    async def go() -> None:
        for _ in turns:
            visits.append(await visitor.visit(address, refetch=refetch))
            progress(len(visits))

    await asyncio.gather(*(go() for _ in range(1 if refetch else VISITS_AT_ONCE)))
    return visits


@asynccontextmanager
async def steady_visits(visitor: Visitor, address: OnionAddress) -> AsyncIterator[list[Visit]]:
    """Visit one page after the other while the block lasts; every other visit refetches.

    The list yielded holds them in order. On leaving, the visit under way is waited for: one that
    hangs must not be missed.
    """
    visits: list[Visit] = []
    over = asyncio.Event()

    async def go() -> None:
        for refetch in cycle((False, True)):
            if over.is_set():
                return
            visits.append(await visitor.visit(address, refetch=refetch))

    visiting = asyncio.create_task(go())
    try:
        yield visits
    except BaseException:
        visiting.cancel()
        raise
    finally:
        over.set()
        await asyncio.wait([visiting])


async def further_visits(visits: Sequence[Visit]) -> None:
    """Wait until a steady visitor has come by some more times.

    :param visits: the list that `steady_visits` yielded.
    :raises TimeoutError: if the visitor hangs.
    """
    enough = len(visits) + FURTHER_VISITS

    async def look() -> bool | None:
        return True if len(visits) >= enough else None

    await wait_for(look, "further visits", FURTHER_LIMIT_S)


def longest_pause_s(visits: Sequence[Visit]) -> float:
    """Find the longest time from one page that came to the next, of visits made in turn."""
    ends = [visit.started_at + visit.seconds for visit in visits if visit.ok]
    return max((later - end for end, later in pairwise(ends)), default=0.0)
