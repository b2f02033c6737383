from __future__ import annotations

import asyncio

import pytest

from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.descriptor_fetch import FetchOutcome, FetchResult, fetch_descriptor
from rbcluster.tor.hsdir_exchange import HsDirExchange
from tests.unit.tor.fake_control_port import ADDRESS, HSDIR, FakeControlPort, single

_FETCH = f"HSFETCH {ADDRESS.label} SERVER={HSDIR}"
_CONTENT = f"HS_DESC_CONTENT {ADDRESS.label} key ${HSDIR}~nick"
_FAILED = f"HS_DESC FAILED {ADDRESS.label} NO_AUTH ${HSDIR}~nick key REASON="


def _content(document: bytes) -> bytes:
    return f"650+{_CONTENT}\r\n".encode() + document + b".\r\n650 OK\r\n"


async def test_a_found_descriptor_is_returned_as_it_was_sent(
    port: FakeControlPort, connection: ControlConnection, exchange: HsDirExchange
) -> None:
    fetching = asyncio.create_task(fetch_descriptor(connection, exchange, ADDRESS, HSDIR))
    await port.asked(_FETCH)
    port.send(_content(b"hs-descriptor 3\r\nsignature x\r\n"))
    document = b"hs-descriptor 3\nsignature x\n"
    assert await fetching == FetchResult(FetchOutcome.FOUND, "", document)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("NOT_FOUND", FetchOutcome.NOT_FOUND),
        ("UNEXPECTED", FetchOutcome.NO_ANSWER),
        ("BAD_DESC", FetchOutcome.NO_ANSWER),
    ],
)
async def test_a_failed_fetch_says_why(
    port: FakeControlPort,
    connection: ControlConnection,
    exchange: HsDirExchange,
    reason: str,
    outcome: FetchOutcome,
) -> None:
    fetching = asyncio.create_task(fetch_descriptor(connection, exchange, ADDRESS, HSDIR))
    await port.asked(_FETCH)
    port.send(_content(b"\r\n"))  # tor sends an empty one with a failure
    port.send(_FAILED + reason)
    result = await fetching
    assert (result.outcome, result.document) == (outcome, b"")


async def test_a_fetch_without_an_answer_ends(
    connection: ControlConnection, exchange: HsDirExchange
) -> None:
    result = await fetch_descriptor(connection, exchange, ADDRESS, HSDIR, timeout_s=0.05)
    assert result == FetchResult(FetchOutcome.NO_ANSWER, "the HSDir did not answer in time")


async def test_a_fetch_that_tor_refuses_says_why(
    port: FakeControlPort, connection: ControlConnection, exchange: HsDirExchange
) -> None:
    port.answers["HSFETCH"] = single("Server not found", 552)
    result = await fetch_descriptor(connection, exchange, ADDRESS, HSDIR)
    assert result == FetchResult(
        FetchOutcome.NO_ANSWER, "tor refused HSFETCH: 552 Server not found"
    )
