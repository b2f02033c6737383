from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rbcluster.endpoint import HostPort
from rbcluster.socks import SocksError, connect_through

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_GREETING = b"\x05\x02\x00\x02"
_LOGIN = b"\x01\x05alice\x01x"
_CONNECT = b"\x05\x01\x00\x03\x05x.y.z\x00\x50"
_CONNECTED = b"\x05\x00\x00\x01\0\0\0\0\0\0"


@asynccontextmanager
async def serving(path: Path, serve: Serve) -> AsyncIterator[Path]:
    async with await asyncio.start_unix_server(serve, path) as server:
        yield path
        server.close()


def answering(*exchange: tuple[bytes, bytes]) -> Serve:
    """Expect each first part, answer with the second, then close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for wanted, answer in exchange:
            assert await reader.readexactly(len(wanted)) == wanted
            writer.write(answer)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    return serve


async def connect(path: Path) -> bytes:
    connection = await connect_through(path, HostPort("x.y.z", 80), "alice")
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "reply", [_CONNECTED, b"\x05\x00\x00\x04" + bytes(16) + b"\0\0"], ids=["ipv4", "ipv6"]
)
async def test_what_follows_the_reply_is_the_connection(tmp_path: Path, reply: bytes) -> None:
    exchange = answering(
        (_GREETING, b"\x05\x02"), (_LOGIN, b"\x01\x00"), (_CONNECT, reply + b"hello")
    )
    async with serving(tmp_path / "socks", exchange) as path:
        assert await connect(path) == b"hello"


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0x01, "general failure"), (0xF0, "descriptor not found"), (0x77, "unknown reply")],
)
async def test_a_refusal_tells_its_reason(tmp_path: Path, code: int, reason: str) -> None:
    reply = b"\x05" + bytes([code]) + _CONNECTED[2:]
    exchange = answering((_GREETING, b"\x05\x02"), (_LOGIN, b"\x01\x00"), (_CONNECT, reply))
    async with serving(tmp_path / "socks", exchange) as path:
        with pytest.raises(SocksError, match=reason):
            await connect(path)


@pytest.mark.parametrize(
    ("exchange", "reason"),
    [
        (answering((_GREETING, b"\x05\xff")), "is this a SOCKS port"),
        (answering((_GREETING, b"\x05\x02"), (_LOGIN, b"\x01\x01")), "is this a SOCKS port"),
        (answering((_GREETING, b"\x05")), "closed the connection"),
        (
            answering(
                (_GREETING, b"\x05\x02"),
                (_LOGIN, b"\x01\x00"),
                (_CONNECT, b"\x04\x00\x00\x01" + bytes(6)),
            ),
            "not SOCKS 5",
        ),
    ],
    ids=["method", "login", "closed", "version"],
)
async def test_what_is_no_socks_port_is_told_apart(
    tmp_path: Path, exchange: Serve, reason: str
) -> None:
    async with serving(tmp_path / "socks", exchange) as path:
        with pytest.raises(SocksError, match=reason):
            await connect(path)


async def test_a_proxy_that_wants_no_user_name_gets_none(tmp_path: Path) -> None:
    exchange = answering((_GREETING, b"\x05\x00"), (_CONNECT, _CONNECTED + b"hello"))
    async with serving(tmp_path / "socks", exchange) as path:
        assert await connect(path) == b"hello"


async def test_a_proxy_on_a_tcp_port_is_reached_too() -> None:
    exchange = answering(
        (_GREETING, b"\x05\x02"), (_LOGIN, b"\x01\x00"), (_CONNECT, _CONNECTED + b"hello")
    )
    async with await asyncio.start_server(exchange, "127.0.0.1", 0) as server:
        proxy = HostPort(*server.sockets[0].getsockname())
        connection = await connect_through(proxy, HostPort("x.y.z", 80), "alice")
        with connection:
            assert await asyncio.get_running_loop().sock_recv(connection, 100) == b"hello"


async def test_a_proxy_that_does_not_listen_is_told_by_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await connect(tmp_path / "none")
