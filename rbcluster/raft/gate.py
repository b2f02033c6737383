"""The gate: how many strangers may try to come in at once, and what became of those turned away.

Until certificate and greeting are checked, everyone who connects is a stranger. An attempt costs
this node a TLS handshake, so there is room for a few at a time, for fewer from one address, and
for so many in a second. Where there is no room, a newcomer is closed at once, unless the oldest
attempt in its way has had a second already: an honest one is through by then, and without this
three connections a second that say nothing would keep every peer out.

Not here: the checks themselves (`tls.py`, `transport.py`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from enum import Enum

from rbcluster.raft.limits import (
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_S,
    MAX_HANDSHAKES_PER_SOURCE,
)

_UNDISTURBED_S = 1.0


class TurnedAway(Enum):
    """Why a connection from outside did not become a link."""

    CROWDED = "crowded"  # no room for it, or it gave way to a newer one
    SILENT = "silent"  # it did not say who it is in time
    BROKEN = "broken"  # it closed the connection, or that broke
    TLS = "tls"  # it speaks no TLS 1.3, or shows no certificate of this cluster's authority
    MISFIT = "misfit"  # certified, but no member, or in another role or version

    @classmethod
    def because_of(cls, error: BaseException) -> TurnedAway:
        """Classify what an attempt ended with."""
        if isinstance(error, ssl.SSLError):
            return cls.TLS
        if isinstance(error, TimeoutError):
            return cls.SILENT
        if isinstance(error, OSError | asyncio.IncompleteReadError):
            return cls.BROKEN
        return cls.MISFIT


class Gate:
    """Keeps count of the attempts under way; in a running loop."""

    def __init__(self, turn_away: Callable[[TurnedAway], None]) -> None:
        self._turn_away = turn_away  # told of each, also of those that fail by themselves
        self._under_way: dict[asyncio.Task[None], tuple[str, float]] = {}  # oldest first
        self._tokens = 0.0
        self._counted_at = float("-inf")

    def has_room(self, source: str) -> bool:
        """Tell whether an attempt may begin; an old one may be cancelled for it."""
        now = asyncio.get_running_loop().time()
        self._tokens += (now - self._counted_at) * MAX_HANDSHAKES_PER_S
        self._tokens = min(self._tokens, float(MAX_HANDSHAKES_PER_S))
        self._counted_at = now
        if self._tokens < 1 or not self._make_room(source, now):
            self._turn_away(TurnedAway.CROWDED)
            return False
        self._tokens -= 1
        return True

    def _make_room(self, source: str, now: float) -> bool:
        of_source = [task for task, (host, _) in self._under_way.items() if host == source]
        if len(of_source) >= MAX_HANDSHAKES_PER_SOURCE:
            in_the_way = of_source[0]
        elif len(self._under_way) >= MAX_HANDSHAKES:
            in_the_way = next(iter(self._under_way))
        else:
            return True
        if now - self._under_way[in_the_way][1] < _UNDISTURBED_S:
            return False
        self._turn_away(TurnedAway.CROWDED)
        self.leave(in_the_way)
        in_the_way.cancel()
        return True

    def enter(self, attempt: asyncio.Task[None], source: str) -> None:
        """Take note of an attempt."""
        self._under_way[attempt] = (source, asyncio.get_running_loop().time())

    def leave(self, attempt: asyncio.Task[None]) -> None:
        """Forget an attempt: it is over, either way. May be called again."""
        self._under_way.pop(attempt, None)

    def fail(self, error: BaseException) -> None:
        """Count an attempt that failed."""
        self._turn_away(TurnedAway.because_of(error))


def source_of(host: str) -> str:
    """Name whom an address belongs to: one host may choose any of a network of IPv6.

    >>> source_of("192.0.2.1"), source_of("2001:db8::1")
    ('192.0.2.1', '2001:db8::/64')
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 4:  # noqa: PLR2004 - of IP
        return host
    return str(ipaddress.ip_network((address, 64), strict=False))
