from __future__ import annotations

import aiohttp
import pytest

from rbcluster.lab.webpage import MAX_BYTES, WebPage


async def fetch(page: WebPage, path: str) -> tuple[int, bytes]:
    host, port = page.address
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as response,
    ):
        return response.status, await response.read()


async def test_the_page_names_its_node() -> None:
    async with WebPage("b") as page:
        assert await fetch(page, "/") == (200, b"b\n")
        assert page.num_served == 1


@pytest.mark.parametrize("count", [0, 1, 65_535, 65_536, 65_537, 200_000])
async def test_bytes_are_served_to_the_last(count: int) -> None:
    async with WebPage("b") as page:
        assert await fetch(page, f"/bytes/{count}") == (200, bytes(count))


async def test_too_many_bytes_are_refused() -> None:
    async with WebPage("b") as page:
        status, _ = await fetch(page, f"/bytes/{MAX_BYTES + 1}")

        assert status == 400


async def test_a_page_that_was_not_started_has_no_address() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        _ = WebPage("b").address


async def test_nobody_answers_after_stop() -> None:
    page = WebPage("b")
    await page.start()
    host, port = page.address
    await page.stop()
    await page.stop()

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{host}:{port}/")
