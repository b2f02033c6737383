from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from rbcluster.errors import ControlPortError, ParseError
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.tor import hsdir_exchange
from rbcluster.tor.connection import ControlConnection
from rbcluster.tor.descriptor_fetch import FetchOutcome, fetch_descriptor
from rbcluster.tor.descriptor_upload import UploadOutcome, UploadResult, always, upload_descriptor
from rbcluster.tor.hsdir_exchange import HsDirExchange
from tests.unit.tor.fake_control_port import ADDRESS, HSDIR, FakeControlPort, make_document, single

_POST = f"+HSPOST SERVER={HSDIR} HSADDRESS={ADDRESS.label}"
_DOCUMENT = make_document(1, 2, 3)
_UPLOADED = f"HS_DESC UPLOADED {ADDRESS.label} UNKNOWN ${HSDIR}~nick"
_REJECTED = f"HS_DESC FAILED {ADDRESS.label} UNKNOWN ${HSDIR}~nick REASON=UPLOAD_REJECTED"

Upload = Callable[..., Coroutine[None, None, UploadResult]]


@pytest.fixture
def upload(connection: ControlConnection, exchange: HsDirExchange) -> Upload:
    async def run(
        document: bytes = _DOCUMENT,
        hsdir: Fingerprint = HSDIR,
        timeout_s: float = 10.0,
        may_send: Callable[[], bool] = always,
    ) -> UploadResult:
        return await upload_descriptor(
            connection, exchange, ADDRESS, document, hsdir, may_send=may_send, timeout_s=timeout_s
        )

    return run


async def _settle(connection: ControlConnection) -> None:
    """Return when every event sent so far has been delivered."""
    await connection.request("GETINFO x")


async def test_an_accepted_upload(port: FakeControlPort, upload: Upload) -> None:
    uploading = asyncio.create_task(upload())
    await port.asked(_POST)
    port.send(_UPLOADED)
    assert await uploading == UploadResult(UploadOutcome.UPLOADED)
    assert port.data[0].replace(b"\r\n", b"\n") == _DOCUMENT + b".\n"


async def test_a_rejected_upload(port: FakeControlPort, upload: Upload) -> None:
    uploading = asyncio.create_task(upload())
    await port.asked(_POST)
    port.send(_REJECTED)
    assert (await uploading).outcome is UploadOutcome.REJECTED


async def test_an_upload_that_failed_on_its_way_is_unknown(
    port: FakeControlPort, upload: Upload
) -> None:
    uploading = asyncio.create_task(upload())
    await port.asked(_POST)
    port.send(_REJECTED.replace("UPLOAD_REJECTED", "UNEXPECTED"))
    result = await uploading
    assert result == UploadResult(UploadOutcome.NO_ANSWER, "the upload failed (UNEXPECTED)")


async def test_an_upload_that_tor_refuses_was_not_sent(
    port: FakeControlPort, upload: Upload
) -> None:
    port.answers["+HSPOST"] = single(f'Server "{HSDIR}" not found', 552)
    result = await upload()
    assert result.outcome is UploadOutcome.NOT_SENT
    assert result.detail == f'tor refused HSPOST: 552 Server "{HSDIR}" not found'


async def test_an_upload_without_an_answer_is_unknown(upload: Upload) -> None:
    result = await upload(timeout_s=0.05)
    assert result == UploadResult(UploadOutcome.NO_ANSWER, "the HSDir did not answer in time")


async def test_an_upload_cut_off_by_a_lost_connection_is_unknown(
    port: FakeControlPort, upload: Upload, exchange: HsDirExchange
) -> None:
    uploading = asyncio.create_task(upload())
    await port.asked(_POST)
    exchange.connection_lost()
    assert (await uploading).outcome is UploadOutcome.NO_ANSWER


async def test_an_upload_over_a_connection_that_has_ended_was_not_sent(
    port: FakeControlPort, upload: Upload, connection: ControlConnection
) -> None:
    await port.hang_up()
    with pytest.raises(ControlPortError):
        await connection.ended()
    result = await upload()
    assert result.outcome is UploadOutcome.NOT_SENT
    assert "tor closed the connection" in result.detail


async def test_what_is_no_descriptor_is_not_sent(port: FakeControlPort, upload: Upload) -> None:
    with pytest.raises(ParseError):
        await upload(b"nonsense")
    assert port.data == []


async def test_answers_of_other_hsdirs_and_of_fetches_do_not_count(
    port: FakeControlPort, upload: Upload
) -> None:
    uploading = asyncio.create_task(upload())
    await port.asked(_POST)
    port.send(_REJECTED.replace(str(HSDIR), "AA" * 20))
    port.send(_REJECTED.replace("UPLOAD_REJECTED", "NOT_FOUND"))
    port.send(_UPLOADED)
    assert (await uploading).outcome is UploadOutcome.UPLOADED


async def test_uploads_to_one_hsdir_wait_for_each_other_and_to_others_do_not(
    port: FakeControlPort, upload: Upload, connection: ControlConnection
) -> None:
    other = Fingerprint(bytes(20))
    first = asyncio.create_task(upload())
    await port.asked(_POST)
    second = asyncio.create_task(upload())
    third = asyncio.create_task(upload(hsdir=other))
    await port.asked(f"+HSPOST SERVER={other}")
    await _settle(connection)
    assert sum(line == _POST for line in port.requests) == 1
    port.send(_UPLOADED)
    await port.asked(_POST, times=2)
    port.send(_REJECTED)
    port.send(_UPLOADED.replace(str(HSDIR), str(other)))
    outcomes = [(await task).outcome for task in (first, second, third)]
    assert outcomes == [UploadOutcome.UPLOADED, UploadOutcome.REJECTED, UploadOutcome.UPLOADED]


async def test_an_upload_that_gets_no_turn_was_not_sent(
    port: FakeControlPort, upload: Upload
) -> None:
    first = asyncio.create_task(upload())
    await port.asked(_POST)
    assert (await upload(timeout_s=0.01)).outcome is UploadOutcome.NOT_SENT
    port.send(_UPLOADED)
    assert (await first).outcome is UploadOutcome.UPLOADED


async def test_an_upload_no_longer_wanted_when_its_turn_comes_is_not_sent(
    port: FakeControlPort, upload: Upload
) -> None:
    in_office = True
    first = asyncio.create_task(upload())
    await port.asked(_POST)
    second = asyncio.create_task(upload(may_send=lambda: in_office))
    in_office = False
    port.send(_UPLOADED)
    assert (await first).outcome is UploadOutcome.UPLOADED
    assert (await second).outcome is UploadOutcome.NOT_SENT
    assert sum(line == _POST for line in port.requests) == 1


async def _give_up(upload: Upload) -> None:
    assert (await upload(timeout_s=0.05)).outcome is UploadOutcome.NO_ANSWER


async def test_a_late_answer_is_not_taken_for_that_of_another_descriptor(
    port: FakeControlPort, upload: Upload
) -> None:
    await _give_up(upload)
    uploading = asyncio.create_task(upload(make_document(1, revision=8), timeout_s=0.3))
    await port.asked(_POST, times=2)
    port.send(_UPLOADED)
    assert (await uploading).outcome is UploadOutcome.NO_ANSWER


async def test_two_answers_settle_two_uploads(port: FakeControlPort, upload: Upload) -> None:
    await _give_up(upload)
    uploading = asyncio.create_task(upload(make_document(1, revision=8)))
    await port.asked(_POST, times=2)
    port.send(_UPLOADED)
    port.send(_REJECTED)
    assert (await uploading).outcome is UploadOutcome.REJECTED


async def test_the_same_revision_sent_again_takes_either_answer(
    port: FakeControlPort, upload: Upload
) -> None:
    await _give_up(upload)
    uploading = asyncio.create_task(upload(make_document(3, 2, 1)))
    await port.asked(_POST, times=2)
    port.send(_UPLOADED)
    assert (await uploading).outcome is UploadOutcome.UPLOADED


async def test_a_late_answer_that_came_in_between_is_done_with(
    port: FakeControlPort, upload: Upload, connection: ControlConnection
) -> None:
    await _give_up(upload)
    port.send(_UPLOADED)
    await _settle(connection)
    uploading = asyncio.create_task(upload(make_document(1, revision=8)))
    await port.asked(_POST, times=2)
    port.send(_REJECTED)
    assert (await uploading).outcome is UploadOutcome.REJECTED


async def test_an_answer_that_never_came_is_forgotten_in_the_end(
    port: FakeControlPort, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hsdir_exchange, "DEBT_S", 0.0)
    await _give_up(upload)
    uploading = asyncio.create_task(upload(make_document(1, revision=8)))
    await port.asked(_POST, times=2)
    port.send(_UPLOADED)
    assert (await uploading).outcome is UploadOutcome.UPLOADED


async def test_a_fetch_passes_an_earlier_uploads_late_answer_by(
    port: FakeControlPort, upload: Upload, connection: ControlConnection, exchange: HsDirExchange
) -> None:
    await _give_up(upload)
    fetching = asyncio.create_task(fetch_descriptor(connection, exchange, ADDRESS, HSDIR))
    await port.asked("HSFETCH")
    port.send(_REJECTED)
    port.send(_REJECTED.replace("UPLOAD_REJECTED", "NOT_FOUND"))
    assert (await fetching).outcome is FetchOutcome.NOT_FOUND
    uploading = asyncio.create_task(upload(make_document(1, revision=8)))
    await port.asked(_POST, times=2)
    port.send(_UPLOADED)
    assert (await uploading).outcome is UploadOutcome.UPLOADED


async def test_an_upload_that_tor_refuses_settles_no_earlier_one(
    port: FakeControlPort, upload: Upload
) -> None:
    await _give_up(upload)
    port.answers["+HSPOST"] = single("Server not found", 552)
    assert (await upload(make_document(1, revision=8))).outcome is UploadOutcome.NOT_SENT
    port.answers["+HSPOST"] = single("OK")
    uploading = asyncio.create_task(upload(make_document(1, revision=9), timeout_s=0.3))
    await port.asked(_POST, times=3)
    port.send(_UPLOADED)  # of the first, too late
    assert (await uploading).outcome is UploadOutcome.NO_ANSWER


async def test_nothing_is_kept_of_hsdirs_that_answered(
    port: FakeControlPort, upload: Upload, exchange: HsDirExchange
) -> None:
    uploading = asyncio.create_task(upload())
    await port.asked(_POST)
    assert len(exchange._locks) == 1
    port.send(_UPLOADED)
    await uploading
    assert len(exchange._locks) == len(exchange._debts) == 0
