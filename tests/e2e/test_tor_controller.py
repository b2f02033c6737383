"""The controller with a real tor in a real network: points, circuits, HSDirs, and tor's deaths."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest_asyncio

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor, open_descriptor
from rbcluster.hs.hashring import HashRing, SlotTime, slot_times
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter, RevisionScheme
from rbcluster.hs.time_period import TimePeriod
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.webpage import WebPage
from rbcluster.tor.authentication import authenticate
from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.descriptor_fetch import FetchOutcome
from rbcluster.tor.descriptor_upload import UploadOutcome
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.key_directory import write_key_directory
from rbcluster.tor.managed_tor import ManagedTor
from rbcluster.tor.settings import ServiceSettings, TorMode, TorSettings
from tests.shared.watched import Watched, running_controller

_IDENTITY = IdentityKeypair.from_seed(os.urandom(32))
_ADDRESS = OnionAddress(_IDENTITY.public)
_LIMIT_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page() -> AsyncIterator[WebPage]:
    async with WebPage("one") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def settings(network: PrivateNetwork) -> TorSettings:
    return TorSettings(
        mode=TorMode.MANAGED,
        tor_dir=network.directory / "node" / "tor",
        extra_lines=network.client_torrc_lines,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(settings: TorSettings, page: WebPage) -> ServiceSettings:
    host, port = page.address
    service = ServiceSettings(
        address=_ADDRESS,
        directory=settings.tor_dir.with_name("service"),
        ports=(f"80 {host}:{port}",),
    )
    write_key_directory(service.directory, _IDENTITY)
    return service


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(settings: TorSettings, service: ServiceSettings) -> AsyncIterator[Watched]:
    try:
        async with running_controller(settings, service) as watched:
            await watched.until(lambda: bool(watched.relays), 120)
            yield watched
    finally:
        await ManagedTor(settings, (service,)).stop()


def _pid(settings: TorSettings, service: ServiceSettings) -> int:
    pid = ManagedTor(settings, (service,)).pid
    assert pid is not None
    return pid


def _known(node: Watched) -> tuple[ConsensusView, LocalIntroPoints]:
    view, local = node.tor.consensus, node.tor.intro_points(_ADDRESS)
    assert view is not None
    assert local is not None
    return view, local


def _build(
    node: Watched, slot_time: SlotTime, above: int = 0
) -> tuple[bytes, tuple[Fingerprint, ...]]:
    """Build a descriptor of this node's points, and say where it goes."""
    view, local = _known(node)
    keypair = derive_blinded_keypair(_IDENTITY, slot_time.period)
    now = datetime.now(UTC)
    revision = RevisionScheme.from_keypair(keypair).revision_for(slot_time, now) + above
    content = DescriptorContent(
        identity=_IDENTITY.public,
        period=slot_time.period,
        keypair=keypair,
        revision=RevisionCounter(revision),
        points=local.points,
        traits=local.traits,
    )
    document = build_descriptor(content, now, os.urandom)
    return document, HashRing.at(view, slot_time).responsible(keypair.public)


async def _publish(node: Watched, above: int = 0) -> None:
    """Upload both descriptors to every HSDir and have all of them accept."""
    for slot_time in slot_times(_known(node)[0]).values():
        document, hsdirs = _build(node, slot_time, above)
        results = await asyncio.gather(
            *(node.tor.upload(_ADDRESS, document, hsdir) for hsdir in hsdirs)
        )
        assert {result.outcome for result in results} == {UploadOutcome.UPLOADED}


async def _close_circuits(connection: ControlConnection, relays: set[Fingerprint]) -> None:
    """Close the introduction circuits that end at these relays."""
    for line in (await connection.getinfo("circuit-status")).decode().splitlines():
        ends_there = any(f"${relay}" in line.split()[2].rpartition(",")[2] for relay in relays)
        if "PURPOSE=HS_SERVICE_INTRO" in line and ends_there:
            await connection.request(f"CLOSECIRCUIT {line.split()[0]}")


async def test_a_node_knows_its_points_and_its_network(
    node: Watched, network: PrivateNetwork
) -> None:
    view, local = _known(node)
    await node.until(lambda: node.tor.status.bootstrapped == 100, _LIMIT_S)
    assert len(view.hsdirs) == network.size.num_authorities + network.size.num_relays
    assert len(local.points) >= 3
    assert local.traits.flow_control is not None
    assert node.tor.status.warnings == ()


async def test_every_hsdir_answers_an_upload_and_gives_back_what_it_took(
    node: Watched, visitor: Visitor
) -> None:
    await _publish(node)
    view, _ = _known(node)
    period = TimePeriod.containing(view.valid_after, view.times)  # the one that tor fetches
    current = next(st for st in slot_times(view).values() if st.period == period)
    document, hsdirs = _build(node, current, above=10**6)
    assert (await node.tor.upload(_ADDRESS, document, hsdirs[0])).outcome is UploadOutcome.UPLOADED
    fetched = await node.tor.fetch(_ADDRESS, hsdirs[0])
    assert fetched.outcome is FetchOutcome.FOUND
    assert fetched.document == document
    assert open_descriptor(fetched.document, _ADDRESS, period).points
    again = await node.tor.upload(_ADDRESS, document, hsdirs[0])
    assert again.outcome is UploadOutcome.REJECTED
    visit = await visitor.visit(_ADDRESS, refetch=True)
    assert (visit.error, visit.text) == (None, "one")


async def test_an_hsdir_that_does_not_exist_is_told_from_one_that_has_nothing(
    node: Watched,
) -> None:
    view, _ = _known(node)
    document, _ = _build(node, next(iter(slot_times(view).values())))
    result = await node.tor.upload(_ADDRESS, document, Fingerprint(bytes(20)))
    assert result.outcome is UploadOutcome.NOT_SENT
    assert "not found" in result.detail
    stranger = OnionAddress(IdentityKeypair.from_seed(os.urandom(32)).public)
    fetched = await node.tor.fetch(stranger, view.hsdirs[0].fingerprint)
    assert fetched.outcome is FetchOutcome.NOT_FOUND


async def test_points_go_with_the_last_circuit_and_come_back_with_the_next(
    node: Watched, settings: TorSettings
) -> None:
    relays = set(node.relays or ())
    async with open_connection(settings.endpoint, print) as connection:
        await authenticate(connection, None)
        every = {hsdir.fingerprint for hsdir in _known(node)[0].hsdirs}
        closed_at = time.monotonic()
        await _close_circuits(connection, every)
    await node.until(lambda: node.relays == (), 5)
    assert relays
    assert time.monotonic() - closed_at < 5
    await node.until(lambda: len(node.relays or ()) >= 3, _LIMIT_S)


async def test_a_reload_changes_nothing(node: Watched, settings: TorSettings) -> None:
    before = node.relays
    async with open_connection(settings.endpoint, print) as connection:
        await authenticate(connection, None)
        await connection.request("SIGNAL RELOAD")
        await connection.getinfo("version")
    assert node.tor.status.is_usable
    assert node.relays == before


async def test_a_new_controller_finds_tor_and_its_points_as_they_were(
    node: Watched, settings: TorSettings, service: ServiceSettings
) -> None:
    pid = _pid(settings, service)
    async with running_controller(settings, service) as other:
        await other.until(lambda: bool(other.relays), _LIMIT_S)
        assert other.relays == node.relays
    assert _pid(settings, service) == pid
    assert node.tor.status.is_usable


async def test_a_stopped_tor_is_noticed_and_its_points_come_back(
    node: Watched, settings: TorSettings, service: ServiceSettings
) -> None:
    pid = _pid(settings, service)
    stopped_at = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        await node.fault("within 2 s")
        assert time.monotonic() - stopped_at < 15
        assert node.relays is None
    finally:
        os.kill(pid, signal.SIGCONT)
    await node.until(lambda: bool(node.relays), _LIMIT_S)
    assert _pid(settings, service) == pid


async def test_a_killed_tor_is_started_again_and_offers_new_points(
    node: Watched, settings: TorSettings, service: ServiceSettings, visitor: Visitor
) -> None:
    pid = _pid(settings, service)
    os.kill(pid, signal.SIGKILL)
    await node.until(lambda: not node.relays, 5)
    await node.until(lambda: bool(node.relays), 120)
    assert _pid(settings, service) != pid
    await _publish(node, above=10**7)
    visit = await visitor.visit(_ADDRESS, refetch=True)
    assert (visit.error, visit.text) == (None, "one")
