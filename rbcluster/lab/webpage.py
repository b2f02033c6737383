"""The web page behind a node of the lab: it names the node, and serves bytes in bulk.

::

    GET /            the node's name
    GET /bytes/N     N zero bytes (0 .. 100,000,000)
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from rbcluster.lab.lifetime import Lifetime
from rbcluster.lab.ports import LOOPBACK

MAX_BYTES = 100_000_000
_CHUNK: Final = bytes(65_536)


class WebPage(Lifetime):
    """A page on a port of the loopback that the kernel chose.

    :param name: what the page says: which node a visitor reached.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._runner: web.AppRunner | None = None
        self.num_served = 0  # requests answered, of either kind

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on.

        :raises RuntimeError: if it was not started.
        """
        if self._runner is None:
            raise RuntimeError("the web page was not started")
        host, port = self._runner.addresses[0]
        return host, port

    async def start(self) -> None:
        """Listen.

        :raises OSError: if there is no free port.
        """
        application = web.Application()
        application.router.add_get("/", self._show_name)
        application.router.add_get(r"/bytes/{count:\d{1,9}}", self._send_bytes)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()

    async def stop(self) -> None:
        """End it; safe to call twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _show_name(self, _: web.Request) -> web.Response:
        self.num_served += 1
        return web.Response(text=f"{self._name}\n")

    async def _send_bytes(self, request: web.Request) -> web.StreamResponse:
        count = int(request.match_info["count"])
        if count > MAX_BYTES:
            raise web.HTTPBadRequest(text=f"at most {MAX_BYTES} bytes\n")
        self.num_served += 1
        response = web.StreamResponse()
        response.content_length = count
        await response.prepare(request)
        for start in range(0, count, len(_CHUNK)):
            await response.write(_CHUNK[: count - start])
        await response.write_eof()
        return response
