"""Operations over a real Unix socket: values arrive as values, refusals as what they are."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from rbcluster.api.client import NoDaemon, ask
from rbcluster.api.operations import (
    TRANSFER,
    Operation,
    TransferAnswer,
    TransferRequest,
)
from rbcluster.api.routes import Route, route
from rbcluster.api.server import MAX_REQUEST_BYTES, serve_api
from rbcluster.core.ids import NodeId
from rbcluster.errors import (
    CommandError,
    NoLeader,
    OutcomeUnknown,
    RaftError,
    RbclusterError,
    RuleBroken,
)

ADA, BOB = NodeId("ada"), NodeId("bob")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


async def obey(request: TransferRequest) -> TransferAnswer:
    return TransferAnswer(leader=request.to or ADA)


def refusing(error: Exception) -> Route:
    async def refuse(_request: TransferRequest) -> TransferAnswer:
        raise error

    return route(TRANSFER, refuse)


@pytest.mark.parametrize(("to", "leader"), [(BOB, BOB), (None, ADA)])
async def test_request_and_answer_arrive_as_values(
    path: Path, to: NodeId | None, leader: NodeId
) -> None:
    async with serve_api(path, dict, [route(TRANSFER, obey)]):
        answer = await ask(path, TRANSFER, TransferRequest(to=to))
    assert answer == TransferAnswer(leader=leader)


@pytest.mark.parametrize("kind", [NoLeader, RuleBroken, OutcomeUnknown, CommandError])
async def test_refusal_arrives_as_the_error_that_it_was(
    path: Path, kind: type[RbclusterError]
) -> None:
    async with serve_api(path, dict, [refusing(kind("for a reason"))]):
        with pytest.raises(kind, match="for a reason"):
            await ask(path, TRANSFER, TransferRequest())


async def test_any_other_error_raised_on_purpose_counts_as_a_rule(path: Path) -> None:
    async with serve_api(path, dict, [refusing(RaftError("for a reason"))]):
        with pytest.raises(RuleBroken, match="for a reason"):
            await ask(path, TRANSFER, TransferRequest())


@pytest.mark.parametrize(
    ("kind", "status"),
    [(NoLeader, 503), (RuleBroken, 409), (OutcomeUnknown, 504)],
)
async def test_scripts_see_by_the_http_status_what_became_of_it(
    path: Path, kind: type[RbclusterError], status: int
) -> None:
    async with serve_api(path, dict, [refusing(kind("why"))]):
        assert (await post(path, b"{}"))[0] == status


async def test_bug_in_the_daemon_is_no_refusal(path: Path) -> None:
    async with serve_api(path, dict, [refusing(ZeroDivisionError())]):
        with pytest.raises(NoDaemon, match=r"gave no answer to transfer \(500 "):
            await ask(path, TRANSFER, TransferRequest())


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"to": "Not A Name"}', "to: Value error, 'Not A Name' is no node name"),
        (b'{"to": 7}', "to: Value error, a node's name is a text"),
        (b'{"at": "bob"}', "at: Extra inputs are not permitted"),
        (b"{", "the request: Invalid JSON"),
        (b"", "the request: Invalid JSON"),
    ],
)
async def test_request_that_makes_no_sense_is_refused_by_name(
    path: Path, body: bytes, complaint: str
) -> None:
    async with serve_api(path, dict, [route(TRANSFER, obey)]):
        status, answer = await post(path, body)
    assert status == 400
    assert f'"detail":"{complaint}' in answer


async def test_request_without_end_is_not_read(path: Path) -> None:
    async with serve_api(path, dict, [route(TRANSFER, obey)]):
        assert (await post(path, bytes(MAX_REQUEST_BYTES + 1)))[0] == 413


async def test_daemon_of_another_version_is_named_as_such(path: Path) -> None:
    unknown = Operation("sing", TransferRequest, TransferAnswer)
    async with serve_api(path, dict, [route(TRANSFER, obey)]):
        with pytest.raises(NoDaemon, match=r"no answer to sing \(404 .*of this version\?"):
            await ask(path, unknown, TransferRequest())


async def test_answer_in_another_form_is_not_believed(path: Path) -> None:
    async def odd(request: TransferRequest) -> TransferRequest:
        return request

    other = Operation("transfer", TransferRequest, TransferRequest)
    async with serve_api(path, dict, [route(other, odd)]):
        with pytest.raises(NoDaemon, match="sent no answer to transfer"):
            await ask(path, TRANSFER, TransferRequest())


async def test_without_a_daemon_nothing_is_asked(path: Path) -> None:
    with pytest.raises(NoDaemon, match="no daemon answers at"):
        await ask(path, TRANSFER, TransferRequest())


async def post(path: Path, body: bytes) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.post("http://localhost/v1/transfer", data=body) as response,
    ):
        return response.status, await response.text()
