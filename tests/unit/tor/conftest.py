from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.framing import Event
from rbcluster.tor.hs_desc import parse_hs_desc
from rbcluster.tor.hsdir_exchange import HsDirExchange
from rbcluster.tor.settings import ServiceSettings, TorMode, TorSettings
from tests.shared.virtual_time import VirtualTimeLoop
from tests.shared.watched import Watched, running_controller
from tests.unit.tor.fake_control_port import (
    ADDRESS,
    DESCRIPTOR_KEY,
    FakeControlPort,
    block,
    circuit_line,
    make_document,
    options,
    single,
)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="rbc-") as path:
        yield Path(path)


@pytest.fixture
def service(directory: Path) -> ServiceSettings:
    """A service whose directory holds the right ob_config."""
    settings = ServiceSettings(
        address=ADDRESS, directory=directory / "service", ports=("80 127.0.0.1:8080",)
    )
    settings.directory.mkdir(mode=0o700)
    (settings.directory / "ob_config").write_text(settings.ob_config)
    return settings


@pytest.fixture
async def port(directory: Path) -> AsyncIterator[FakeControlPort]:
    """A fake control port on the socket `control` in `directory`."""
    async with FakeControlPort().listen(directory / "control") as fake:
        yield fake


@pytest.fixture
def exchange() -> HsDirExchange:
    return HsDirExchange()


@pytest.fixture
async def connection(
    port: FakeControlPort, directory: Path, exchange: HsDirExchange
) -> AsyncIterator[ControlConnection]:
    """A connection to the port, which takes posts and fetches; answers arrive at `exchange`."""

    def deliver(event: Event) -> None:
        if answer := parse_hs_desc(event):
            exchange.deliver(answer)

    port.answers |= {"+HSPOST": single("OK"), "HSFETCH": single("OK"), "GETINFO x": single("x=")}
    async with open_connection(directory / "control", deliver) as opened:
        await opened.request("SETEVENTS HS_DESC HS_DESC_CONTENT")
        yield opened


@pytest.fixture
def settings(directory: Path) -> TorSettings:
    return TorSettings(
        mode=TorMode.SYSTEM, tor_dir=directory / "tor", control=directory / "control"
    )


@pytest.fixture
async def watched(
    port: FakeControlPort, settings: TorSettings, service: ServiceSettings
) -> AsyncIterator[Watched]:
    """A controller of a tor that is well, with points at relays 1, 2 and 3."""
    port.answers |= {
        "GETCONF": options(service),
        "GETINFO circuit-status": block(
            "circuit-status",
            "".join(circuit_line(n, 9, n) + "\n" for n in (1, 2, 3)).encode(),
        ),
        f"GETINFO {DESCRIPTOR_KEY}": block(DESCRIPTOR_KEY, make_document(1, 2, 3)),
    }
    async with running_controller(settings, service) as running:
        yield running
