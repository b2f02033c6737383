from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rbcluster.errors import ControlPortError
from rbcluster.tor.connection import ControlConnection, RequestRefused, open_connection
from rbcluster.tor.framing import Event
from tests.unit.tor.fake_control_port import FakeControlPort, block, single, value


@pytest.fixture
def events() -> asyncio.Queue[Event]:
    return asyncio.Queue()


@pytest.fixture
async def connection(
    port: FakeControlPort, directory: Path, events: asyncio.Queue[Event]
) -> AsyncIterator[ControlConnection]:
    assert port.num_connections == 0
    async with open_connection(directory / "control", events.put_nowait) as opened:
        yield opened


async def test_a_value_is_read_from_a_line(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["GETINFO version"] = value("version", "0.4.8.1 (git=a)")
    assert await connection.getinfo("version") == b"0.4.8.1 (git=a)"


async def test_a_value_is_read_from_a_data_block(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["GETINFO md/all"] = block("md/all", b"a\nb\n")
    assert await connection.getinfo("md/all") == b"a\nb\n"


async def test_a_value_that_was_not_asked_for_is_an_error(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["GETINFO version"] = value("other", "1")
    with pytest.raises(ControlPortError, match="answered 'other' when asked for 'version'"):
        await connection.getinfo("version")


async def test_options_keep_their_order_and_an_unset_one_is_empty(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["GETCONF"] = b"250-HiddenServiceDir=/a=b\r\n250 Nickname\r\n"
    found = await connection.getconf("HiddenServiceOptions", "Nickname")
    assert found == (("hiddenservicedir", "/a=b"), ("nickname", ""))


async def test_a_refusal_carries_tors_words_and_the_connection_goes_on(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers |= {"AUTHENTICATE": single("No.", 515), "GETINFO version": value("version", "1")}
    with pytest.raises(RequestRefused) as refused:
        await connection.request('AUTHENTICATE "secret"')
    assert (refused.value.code, refused.value.text) == (515, "No.")
    assert str(refused.value) == "tor refused AUTHENTICATE: 515 No."
    assert await connection.getinfo("version") == b"1"


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers |= {"GETINFO slow": None, "GETINFO quick": None}
    with pytest.raises(ControlPortError, match=r"did not answer GETINFO within 0\.01 s"):
        await connection.getinfo("slow", timeout_s=0.01)
    quick = asyncio.create_task(connection.getinfo("quick"))
    await port.asked("GETINFO quick")
    port.send(value("slow", "1") + value("quick", "2"))
    assert await quick == b"2"


async def test_answers_meet_their_requests_with_events_between_them(
    port: FakeControlPort, connection: ControlConnection, events: asyncio.Queue[Event]
) -> None:
    port.answers |= {"GETINFO a": None, "GETINFO b": None}
    first = asyncio.create_task(connection.getinfo("a"))
    second = asyncio.create_task(connection.getinfo("b"))
    await port.asked("GETINFO b")
    port.send(value("a", "1") + b"650 CIRC 1 BUILT\r\n" + value("b", "2"))
    assert (await first, await second) == (b"1", b"2")
    assert events.get_nowait().text == "1 BUILT"


async def test_a_lost_connection_fails_those_who_wait_and_those_who_ask_later(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["GETINFO a"] = None
    waiting = asyncio.create_task(connection.getinfo("a"))
    await port.asked("GETINFO a")
    await port.hang_up()
    with pytest.raises(ControlPortError, match="tor closed the connection"):
        await waiting
    with pytest.raises(ControlPortError, match="tor closed the connection"):
        await connection.getinfo("b")
    with pytest.raises(ControlPortError, match="tor closed the connection"):
        await connection.ended()


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "is no Tor control port"),
        (b"a" * 70_000, "line of more than 65536 bytes"),
        (b"250 OK\r\n", "answered 250 though nothing was asked"),
    ],
)
async def test_a_peer_that_is_not_tor_ends_the_connection(
    port: FakeControlPort, connection: ControlConnection, sent: bytes, complaint: str
) -> None:
    port.answers["GETINFO a"] = value("a", "")
    await connection.getinfo("a")  # from here on the port knows the connection
    port.send(sent)
    with pytest.raises(ControlPortError, match=complaint) as ended:
        await connection.ended()
    assert str(ended.value).startswith("control socket /")


async def test_a_missing_socket_is_an_error_with_its_remedy(directory: Path) -> None:
    with pytest.raises(ControlPortError, match=r"No such file.*check that tor runs"):
        async with open_connection(directory / "nothing", print):
            pass


async def test_a_tcp_port_is_reached_and_a_closed_one_is_an_error() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"650 CIRC 1 BUILT\r\n")
        await writer.drain()
        writer.close()

    events: asyncio.Queue[Event] = asyncio.Queue()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint: tuple[str, int] = server.sockets[0].getsockname()[:2]
    async with open_connection(endpoint, events.put_nowait):
        assert (await events.get()).kind == "CIRC"
    server.close()
    await server.wait_closed()
    with pytest.raises(ControlPortError, match=f"control port 127.0.0.1:{endpoint[1]}"):
        async with open_connection(endpoint, print):
            pass


async def test_a_bug_in_the_event_callback_is_not_swallowed(
    port: FakeControlPort, directory: Path
) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError(event.kind)

    port.answers["GETINFO a"] = b"650 CIRC 1 BUILT\r\n" + value("a", "")
    with pytest.raises(ZeroDivisionError, match="CIRC"):
        async with open_connection(directory / "control", fail) as connection:
            await connection.getinfo("a")


async def why_ended(*, by_reset: bool) -> str:
    """Why a connection ended whose other side closed it in order, or cut it."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if by_reset:
            linger = struct.pack("ii", 1, 0)  # close() then sends RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with open_connection((host, port), lambda _event: None) as opened:
            with pytest.raises(ControlPortError) as ended:
                await opened.ended()
    return str(ended.value).removeprefix(f"control port 127.0.0.1:{port}: ")


async def test_a_cut_connection_is_told_as_a_closed_one_lest_the_log_alternates() -> None:
    closed = await why_ended(by_reset=False)
    assert closed == "tor closed the connection; its log may say why"
    assert await why_ended(by_reset=True) == closed


async def test_a_port_that_nobody_listens_on_is_told_in_plain_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        host, port = gone.getsockname()
    with pytest.raises(ControlPortError) as refused:
        async with open_connection((host, port), lambda _event: None):
            pass
    assert str(refused.value).startswith(
        f"cannot connect to control port 127.0.0.1:{port} (Connection refused); check that tor runs"
    )
