"""Talks with HSDirs, through tor: one at a time for each (service, HSDir), and their answers.

HS_DESC events name the service and the HSDir, but not which request they answer, and posts may
overtake each other. So there is one request in flight for each pair; and one that was given up
leaves a debt: its answer may still come, and must not be taken for the next one's.

Not here: what is sent (`descriptor_upload.py`, `descriptor_fetch.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from rbcluster.errors import ControlPortError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.instants import LONG_AGO, Monotonic
from rbcluster.tor.hs_desc import HsDescEvent

DEBT_S = 300.0  # tor gives up a directory connection that is silent this long (config.c)


@dataclass(slots=True)
class HsDirTalk:
    """One request to one HSDir while it is in flight."""

    answers: asyncio.Queue[HsDescEvent | None] = field(default_factory=asyncio.Queue)
    # ^ events of this pair, in order; None when the control connection is lost
    debt: Hashable | None = None  # the content of an upload that may still be answered

    async def next_answer(self) -> HsDescEvent:
        """Wait for the next event of this pair.

        :raises ControlPortError: if the control connection is lost.
        """
        answer = await self.answers.get()
        if answer is None:
            raise ControlPortError("the control connection was lost before the HSDir answered")
        return answer


_Pair = tuple[str, Fingerprint]


class HsDirExchange:
    """All talks of one tor. It outlives control connections, since late answers do, too."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[_Pair, asyncio.Lock] = WeakValueDictionary()
        # ^ each kept by those who hold it or wait for it: HSDirs come and go for ever
        self._talks: dict[_Pair, HsDirTalk] = {}
        self._debts: dict[_Pair, tuple[Hashable, Monotonic]] = {}  # content, expiry

    @asynccontextmanager
    async def talk(self, address: OnionAddress, hsdir: Fingerprint) -> AsyncIterator[HsDirTalk]:
        """Wait for this pair's turn, and hold it; within, its events arrive at the talk.

        On leaving, the talk's `debt` is what stays owed; None settles the pair.
        """
        pair = (address.label, hsdir)
        lock = self._locks.setdefault(pair, asyncio.Lock())
        async with lock:
            debt, expiry = self._debts.pop(pair, (None, LONG_AGO))
            talk = HsDirTalk(debt=debt if _now() < expiry else None)
            self._talks[pair] = talk
            try:
                yield talk
            finally:
                del self._talks[pair]
                if talk.debt is not None:
                    self._debts[pair] = (talk.debt, Monotonic(_now() + DEBT_S))

    def deliver(self, event: HsDescEvent) -> None:
        """Hand an event to the talk it belongs to; one that comes too late settles its debt."""
        if event.hsdir is None:
            return
        pair = (event.service, event.hsdir)
        if talk := self._talks.get(pair):
            talk.answers.put_nowait(event)
        elif event.may_answer_upload:
            self._debts.pop(pair, None)

    def connection_lost(self) -> None:
        """Tell every talk in flight that no answer will be heard."""
        for talk in self._talks.values():
            talk.answers.put_nowait(None)


def _now() -> Monotonic:
    return Monotonic(asyncio.get_running_loop().time())
