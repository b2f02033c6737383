from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.lab.visitor import Visit, Visitor
from tests.unit.lab.place import PlaceOnly

ADDRESS = OnionAddress(IdentityKeypair.from_seed(b"\x11" * 32).public)


@asynccontextmanager
async def served(
    place: Path, answer: bytes, seen: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Visitor]:
    """Yield a visitor whose SOCKS port leads every visit to the same answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(b"\x05\x02")
        _, length = await reader.readexactly(2)
        seen((await reader.readexactly(length)).decode())
        await reader.readexactly(2)
        writer.write(b"\x01\x00")
        await reader.readexactly(5 + len(str(ADDRESS)) + 2)
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    visitor = Visitor(PlaceOnly(place))
    (place / "visitor").mkdir()
    async with await asyncio.start_unix_server(serve, place / "visitor" / "socks") as server:
        yield visitor
        server.close()


async def test_a_visit_brings_the_page_and_is_remembered(tmp_path: Path) -> None:
    async with served(tmp_path, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\na\n") as visitor:
        visit = await visitor.visit(ADDRESS)

        assert (visit.ok, visit.text, visit.body) == (True, "a", b"a\n")
        assert visit.connected_s is not None
        assert 0 <= visit.connected_s <= visit.seconds
        assert visitor.visits == (visit,)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.0 500 No\r\n\r\n", "answered 'HTTP/1.0 500 No'"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\na\n", "broke off after 2 of 3 bytes"),
        (b"HTTP/1.0 200", "12 bytes read"),
        (b"", "0 bytes read"),
        (b"\r\n\r\n", "answered"),
    ],
)
async def test_a_page_that_is_not_whole_is_a_failed_visit(
    tmp_path: Path, answer: bytes, error: str
) -> None:
    async with served(tmp_path, answer) as visitor:
        visit = await visitor.visit(ADDRESS)

        assert not visit.ok
        assert visit.body == b""
        assert error in str(visit.error)


async def test_only_fresh_circuits_take_a_new_user_name(tmp_path: Path) -> None:
    users: list[str] = []
    async with served(tmp_path, b"HTTP/1.0 200 OK\r\n\r\n", users.append) as visitor:
        for fresh in (True, True, False, False):
            await visitor.visit(ADDRESS, fresh_circuit=fresh)

    first, second, third, fourth = users
    assert len({first, second, third}) == 3
    assert third == fourth


async def test_a_visitor_without_tor_fails_every_visit(tmp_path: Path) -> None:
    visit = await Visitor(PlaceOnly(tmp_path)).visit(ADDRESS, refetch=True)

    assert not visit.ok
    assert visit.connected_s is None


def test_the_speed_of_a_visit_counts_from_the_answer_of_the_service() -> None:
    visit = Visit(started_at=0.0, connected_s=2.0, seconds=6.0, body=bytes(400), error=None)

    assert visit.bytes_per_second == 100.0


def test_a_visit_that_never_got_through_has_no_speed() -> None:
    visit = Visit(started_at=0.0, connected_s=None, seconds=6.0, body=b"", error="x")

    assert visit.bytes_per_second == 0.0
