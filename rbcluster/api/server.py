"""The local API: HTTP on a Unix socket, for commands on the same machine.

Who may use it is the file system's to decide: the socket is for its owner and group alone. Nothing
it says is secret; what it is asked to do, it does through the cluster's log, where rules are kept.

Overview::

    GET /v1/status    the status document (`agent/status_document.py`)
    POST /v1/<name>   an operation (`operations.py`): its request and answer as JSON; what is not
                      carried out is answered by a `Refusal`
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from rbcluster.api.operations import refusal_of
from rbcluster.api.routes import Route
from rbcluster.errors import CommandError, RbclusterError

SOCKET_MODE = 0o660
SHUTDOWN_TIMEOUT_S = 1.0  # for answers under way when the daemon stops
MAX_REQUEST_BYTES = 64 * 1024
_MAX_SOCKET_PATH = 107  # bytes that fit into sockaddr_un on Linux


@contextlib.asynccontextmanager
async def serve_api(
    path: Path, status: Callable[[], Mapping[str, object]], routes: Iterable[Route] = ()
) -> AsyncIterator[None]:
    """Answer on a Unix socket until the block is left; then the socket is gone.

    A socket that a dead daemon left behind is replaced in one step, a live daemon's is not.

    :param status: makes the status document; called for each request, on the event loop.
    :param routes: what else can be asked for.
    :raises RbclusterError: if another daemon answers there, or the socket can't be made.
    """

    async def answer_status(_request: web.Request) -> web.Response:
        return web.json_response(status(), headers={"Cache-Control": "no-store"})

    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_get("/v1/status", answer_status)
    for route in routes:
        app.router.add_post(route.operation.path, _answering(route))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    with _listening(path) as listener:
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield
        finally:
            await runner.cleanup()


def _answering(route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Wrap what carries an operation out: JSON in, JSON out, every refusal in words."""

    async def answer(http: web.Request) -> web.Response:
        try:
            try:
                request = route.operation.request.model_validate_json(await http.read())
            except ValidationError as error:
                fault = error.errors()[0]
                where = ".".join(map(str, fault["loc"])) or "the request"
                raise CommandError(f"{where}: {fault['msg']}") from error
            done = await route.carry_out(request)
        except RbclusterError as error:
            status, refusal = refusal_of(error)
            return web.Response(
                status=status, text=refusal.model_dump_json(), content_type="application/json"
            )
        return web.Response(text=done.model_dump_json(), content_type="application/json")

    return answer


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Bind beside the path, then rename over it: whoever finds the socket may use it."""
    temporary = path.with_name(f"{path.name}.new")
    if len(os.fsencode(temporary)) > _MAX_SOCKET_PATH:
        msg = f"{path} is too long a path for a Unix socket: choose a shorter data_dir"
        raise RbclusterError(msg)
    _refuse_live(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            temporary.unlink(missing_ok=True)
            listener.bind(str(temporary))
            temporary.chmod(SOCKET_MODE)
            listener.listen()
            made = temporary.stat()
            temporary.replace(path)
        except OSError as error:
            msg = f"the API socket {path} can't be made: {error.strerror}: check its folder"
            raise RbclusterError(msg) from error
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.stat(), made):  # a later daemon's is not ours to remove
                    path.unlink()


def _refuse_live(path: Path) -> None:
    """Check that nobody answers on a socket, and that it is one if it exists."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise RbclusterError(f"{path} is no socket: move it away, the API's belongs there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is a life sign too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            msg = f"{path} may be in use ({error.strerror}): stop the other daemon, or remove it"
            raise RbclusterError(msg) from error
    raise RbclusterError(f"a daemon answers on {path} already: stop it, or use another data_dir")
