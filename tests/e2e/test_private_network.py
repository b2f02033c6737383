"""The lab itself: a private network that visitors can use, and that leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.lab.network import NetworkSize, PrivateNetwork
from rbcluster.lab.plain_service import PlainService
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.waiting import wait_for
from rbcluster.lab.webpage import WebPage
from rbcluster.tor.connection import RequestRefused
from rbcluster.tor.network_view import read_network

_SMALL = NetworkSize(num_authorities=1, num_relays=2)
_LIMIT_S = 20.0
_OWNER = """
import asyncio
from rbcluster.lab.network import NetworkSize, PrivateNetwork

async def main():
    network = PrivateNetwork(NetworkSize(num_authorities=1, num_relays=2))
    starting = asyncio.create_task(network.start())
    while not network.processes or network.processes[-1].pid is None:
        await asyncio.sleep(0.05)
    print(network.directory, *(process.pid for process in network.processes), flush=True)
    await starting

asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(network: PrivateNetwork) -> AsyncIterator[PlainService]:
    """Return an onion service that tor publishes by itself, with a page named "plain"."""
    async with WebPage("plain") as page, PlainService(network, "plain", page.address) as running:
        yield running


def leftovers(directory: Path, pids: Iterable[int]) -> list[Path]:
    """What is left of a network: its directory, and its processes as the kernel shows them."""
    return [path for path in (directory, *(Path(f"/proc/{pid}") for pid in pids)) if path.exists()]


async def until_gone(directory: Path, pids: Iterable[int]) -> None:
    async def look() -> bool | None:
        return None if leftovers(directory, pids) else True

    await wait_for(look, "the end of every process and file", _LIMIT_S)


async def test_every_relay_of_a_started_network_is_in_its_consensus(
    network: PrivateNetwork, visitor: Visitor
) -> None:
    view = (await read_network(visitor.tor.getinfo, None, testing_network=True)).view

    assert len(view.hsdirs) == network.size.num_authorities + network.size.num_relays
    assert view.times.voting_interval == network.size.voting_interval


async def test_an_owner_killed_with_minus_nine_leaves_no_process_and_no_file() -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    directory, *pids = (await owner.stdout.readline()).decode().split()
    owner.send_signal(signal.SIGKILL)
    await owner.communicate()

    await until_gone(Path(directory), [int(pid) for pid in pids])


async def test_an_owner_that_gets_ctrl_c_leaves_no_process_and_no_file() -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _OWNER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert owner.stdout is not None
    directory, *pids = (await owner.stdout.readline()).decode().split()
    owner.send_signal(signal.SIGINT)
    await owner.communicate()

    assert owner.returncode not in (0, -signal.SIGKILL)
    await until_gone(Path(directory), [int(pid) for pid in pids])


async def test_a_stopped_network_leaves_no_process_and_no_file() -> None:
    network = PrivateNetwork(_SMALL)
    starting = asyncio.create_task(network.start())

    async def look() -> list[int] | None:
        pids = [process.pid for process in network.processes]
        return None if not pids or None in pids else [pid for pid in pids if pid is not None]

    pids = await wait_for(look, "the start of every tor", _LIMIT_S)
    directory = network.directory
    starting.cancel()
    await asyncio.wait([starting])

    assert starting.cancelled()
    assert leftovers(directory, pids) == []


async def test_a_visitor_reaches_an_onion_service_on_fresh_circuits(
    service: PlainService, visitor: Visitor
) -> None:
    visits = [await visitor.visit(service.address) for _ in range(5)]

    assert [visit.text for visit in visits] == ["plain"] * 5


async def test_a_visitor_that_refetches_reads_the_descriptor_again(
    service: PlainService, visitor: Visitor
) -> None:
    visit = await visitor.visit(service.address, refetch=True)

    assert (visit.error, visit.text) == (None, "plain")


async def test_a_visitor_that_forgot_a_descriptor_does_not_hold_it_any_more(
    service: PlainService, visitor: Visitor
) -> None:
    await visitor.visit(service.address)
    key = f"hs/client/desc/id/{service.address.label}"
    held = await visitor.tor.getinfo(key)
    await visitor.forget_descriptor(service.address)

    assert held.startswith(b"hs-descriptor 3")
    with pytest.raises(RequestRefused):
        await visitor.tor.getinfo(key)


async def test_a_visitor_downloads_in_bulk(service: PlainService, visitor: Visitor) -> None:
    visit = await visitor.visit(service.address, path="/bytes/2000000")

    assert (visit.error, len(visit.body)) == (None, 2_000_000)
    assert visit.bytes_per_second > 0


async def test_a_visit_to_a_service_that_does_not_exist_fails_with_a_reason(
    visitor: Visitor,
) -> None:
    nobody = OnionAddress(IdentityKeypair.from_seed(b"\x55" * 32).public)
    visit = await visitor.visit(nobody)

    assert not visit.ok
    assert visit.error == "descriptor not found (0xf0)"
    assert visitor.visits[-1] == visit
