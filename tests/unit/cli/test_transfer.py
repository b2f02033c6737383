"""`rbcluster transfer` against a daemon's API over a real Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.api.operations import TRANSFER, TransferAnswer, TransferRequest
from rbcluster.api.routes import route
from rbcluster.api.server import serve_api
from rbcluster.cli.main import main
from rbcluster.core.ids import NodeId
from rbcluster.errors import RuleBroken


async def run(path: Path, *args: str) -> Result:
    async def transfer(request: TransferRequest) -> TransferAnswer:
        if request.to == NodeId("c"):
            raise RuleBroken("refused: c is no voter")
        return TransferAnswer(leader=request.to or NodeId("a"))

    async with serve_api(path, dict, [route(TRANSFER, transfer)]):
        options = ["--socket", str(path), *args]
        return await asyncio.to_thread(CliRunner().invoke, main, ["transfer", *options])


@pytest.mark.parametrize(("args", "leader"), [(("b",), "b"), ((), "a")])
async def test_who_leads_now_is_said(tmp_path: Path, args: tuple[str, ...], leader: str) -> None:
    result = await run(tmp_path / "api.sock", *args)
    assert (result.exit_code, result.output) == (0, f"{leader} leads\n")


async def test_refusal_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    result = await run(tmp_path / "api.sock", "c")
    assert (result.exit_code, result.output) == (1, "rbcluster: refused: c is no voter\n")


async def test_name_that_can_not_be_one_is_refused_before_anyone_is_asked(tmp_path: Path) -> None:
    result = await run(tmp_path / "api.sock", "Not_A_Name")
    assert result.exit_code == 2
    assert "'Not_A_Name' is no node name" in result.output
