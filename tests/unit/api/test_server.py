"""The local API over real Unix sockets: who gets the socket, what is answered, what is said."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rbcluster.api.client import NoDaemon, fetch_status
from rbcluster.api.server import serve_api
from rbcluster.errors import RbclusterError

STATUS: Any = {
    "cluster": {
        "name": "example",
        "leader": None,
        "term": 0,
        "commit_index": 0,
        "last_applied": 0,
        "voters": ["a"],
        "quorum": 1,
        "has_quorum": False,
        "failures_tolerated": 0,
        "maintenance_until": None,
        "state_digest": "",
    },
    "self": "a",
    "health": "no-leader",
    "problems": [],
    "nodes": [],
    "services": [],
    "turned_away": {},
    "notes": [],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


@pytest.fixture
def some_file(path: Path) -> Path:
    path.write_text("precious")
    return path


@pytest.fixture
def dead_socket(path: Path) -> Path:
    """What a daemon killed with -9 leaves behind."""
    replace_socket(path)
    return path


def replace_socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left_in(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def test_the_status_arrives_as_it_was_made(path: Path) -> None:
    async with serve_api(path, lambda: STATUS):
        assert await fetch_status(path) == STATUS


async def test_keys_of_a_later_version_are_passed_on(path: Path) -> None:
    async with serve_api(path, lambda: {**STATUS, "weather": "fine"}):
        assert dict(await fetch_status(path))["weather"] == "fine"


async def test_each_request_gets_the_status_of_its_own_moment(path: Path) -> None:
    names = iter("ab")
    async with serve_api(path, lambda: {**STATUS, "self": next(names)}):
        assert [(await fetch_status(path))["self"] for _ in range(2)] == ["a", "b"]


async def test_the_socket_is_for_owner_and_group_alone(path: Path) -> None:
    async with serve_api(path, lambda: STATUS):
        assert mode_of(path) == 0o660


async def test_nothing_is_left_behind(path: Path) -> None:
    async with serve_api(path, lambda: STATUS):
        pass
    assert left_in(path.parent) == []


async def test_a_dead_daemons_socket_is_replaced(dead_socket: Path) -> None:
    async with serve_api(dead_socket, lambda: STATUS):
        assert await fetch_status(dead_socket) == STATUS


async def test_a_live_daemons_socket_is_not_taken_over(path: Path) -> None:
    async with serve_api(path, lambda: STATUS):
        with pytest.raises(RbclusterError, match=r"a daemon answers on .* already: stop it"):
            async with serve_api(path, dict):
                pass
        assert await fetch_status(path) == STATUS


async def test_a_socket_that_a_later_daemon_put_in_place_is_not_removed(path: Path) -> None:
    async with serve_api(path, lambda: STATUS):
        replace_socket(path)
    assert left_in(path.parent) == ["api.sock"]


async def test_a_file_in_place_of_the_socket_is_kept_and_named(some_file: Path) -> None:
    with pytest.raises(RbclusterError, match="is no socket: move it away"):
        async with serve_api(some_file, lambda: STATUS):
            pass
    assert left_in(some_file.parent) == ["api.sock"]


async def test_a_socket_that_cannot_be_made_is_named(path: Path) -> None:
    missing = path.parent / "missing" / "api.sock"
    with pytest.raises(RbclusterError, match=r"api\.sock can't be made: No such file"):
        async with serve_api(missing, lambda: STATUS):
            pass


async def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    with pytest.raises(RbclusterError, match="is too long a path for a Unix socket"):
        async with serve_api(tmp_path / ("x" * 108), lambda: STATUS):
            pass


async def test_an_unknown_question_is_no_status(path: Path) -> None:
    async with serve_api(path, lambda: STATUS):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /v2/status HTTP/1.0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.0 404")
        writer.close()


async def test_without_a_daemon_the_remedy_is_named(path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"no daemon answers at .*systemctl status rbcluster"):
        await fetch_status(path)


async def test_a_dead_daemons_socket_is_no_daemon(dead_socket: Path) -> None:
    with pytest.raises(NoDaemon, match="no daemon answers at"):
        await fetch_status(dead_socket)


@pytest.fixture
def silent_socket(path: Path) -> Iterator[Path]:
    """A daemon that hangs: it listens, but never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


async def test_a_daemon_that_hangs_is_not_waited_for(silent_socket: Path) -> None:
    with pytest.raises(NoDaemon, match=r"gave no answer in 0\.05 s"):
        await fetch_status(silent_socket, 0.05)


async def test_a_daemon_that_hangs_still_owns_its_socket(silent_socket: Path) -> None:
    with pytest.raises(RbclusterError, match="a daemon answers on"):
        async with serve_api(silent_socket, lambda: STATUS):
            pass


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: web.Response(status=500), "gave no status .500"),
        (lambda: web.Response(text="hello"), "gave no status .200"),
        (lambda: web.json_response([1]), "sent no status document"),
        (lambda: web.json_response({"health": "healthy"}), "sent no status document"),
        (lambda: web.json_response({**STATUS, "health": "superb"}), "sent no status document"),
        (
            lambda: web.Response(text="{", content_type="application/json"),
            "no daemon answers at",
        ),
    ],
)
async def test_an_answer_that_is_no_status_is_refused(
    path: Path, answer: Callable[[], web.Response], message: str
) -> None:
    async def handle(_request: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_get("/v1/status", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        with pytest.raises(NoDaemon, match=message):
            await fetch_status(path)
    finally:
        await runner.cleanup()
