"""Fetches of a descriptor from one HSDir.

Always with SERVER: a bare HSFETCH goes silent after six HSDirs in a quarter of an hour. Tor asks
for the current period's descriptor only; the other can't be read before its period comes.

Spec: control-spec 3.26 [HSFETCH].
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from rbcluster.errors import ControlPortError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.hs_desc import HsDescAction, HsDescEvent
from rbcluster.tor.hsdir_exchange import HsDirExchange, HsDirTalk

FETCH_TIMEOUT_S = 30.0


class FetchOutcome(Enum):
    """What became of a fetch."""

    FOUND = "found"
    NOT_FOUND = "not found"  # the HSDir has none of this service and period
    NO_ANSWER = "no answer"  # not asked, or not heard: ask another one


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The outcome, a sentence on it, and what was found."""

    outcome: FetchOutcome
    detail: str = ""  # empty for FOUND
    document: bytes = b""  # empty unless FOUND; not verified


async def fetch_descriptor(
    connection: ControlConnection,
    exchange: HsDirExchange,
    address: OnionAddress,
    hsdir: Fingerprint,
    *,
    timeout_s: float = FETCH_TIMEOUT_S,
) -> FetchResult:
    """Fetch a service's descriptor of the current period from one HSDir.

    :param timeout_s: for everything, waiting for an upload to the same HSDir included.
    """
    try:
        async with asyncio.timeout(timeout_s), exchange.talk(address, hsdir) as talk:
            await connection.request(f"HSFETCH {address.label} SERVER={hsdir}")
            return _read_answer(await _next_fetch_answer(talk))
    except TimeoutError:
        return FetchResult(FetchOutcome.NO_ANSWER, "the HSDir did not answer in time")
    except ControlPortError as error:
        return FetchResult(FetchOutcome.NO_ANSWER, str(error))


async def _next_fetch_answer(talk: HsDirTalk) -> HsDescEvent:
    """Wait for content or failure; the debt of an earlier upload is settled on the way."""
    while True:
        answer = await talk.next_answer()
        if answer.may_answer_fetch:
            return answer
        if answer.may_answer_upload:
            talk.debt = None


def _read_answer(answer: HsDescEvent) -> FetchResult:
    if answer.action is HsDescAction.CONTENT:
        return FetchResult(FetchOutcome.FOUND, "", answer.content)
    if answer.reason == "NOT_FOUND":
        return FetchResult(FetchOutcome.NOT_FOUND, "the HSDir holds no descriptor of this service")
    return FetchResult(FetchOutcome.NO_ANSWER, f"the fetch failed ({answer.reason})")
