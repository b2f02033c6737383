"""A node drained while a visitor downloads from it: nobody is cut off, and nobody new comes.

The story is played once; each test reads one thing from what was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest_asyncio

from rbcluster.agent.status_document import StatusDocument
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.hsdirs import talking
from rbcluster.lab.node_process import COMMAND
from rbcluster.lab.node_tor import control_of
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visit, Visitor
from rbcluster.tor.connection import ControlConnection, RequestRefused
from tests.e2e.care import calm, leader_of, mend, node_of
from tests.e2e.witness import Witness

_CALM_S = 60.0
_LIMIT_S = 60.0
_DOWNLOAD_BYTES = 100_000_000  # half a minute, mostly
_DOWNLOAD_LIMIT_S = 200.0
_VISITS = 20
_GRACE = "240s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen."""

    drained: str
    leader_after: str
    download: Visit
    visitors_meanwhile: int | None  # that the node told of while the download ran
    was_waiting: bool  # the command, when the download had ended but its circuit stood
    said: tuple[int | None, str]  # exit code and words of rbcluster drain
    meanwhile: Sequence[Visit]
    again: Sequence[Visit]


def _num_visitors(document: StatusDocument) -> dict[str, int | None]:
    return {node["name"]: node["visitors"] for node in document["nodes"]}


def _hides(document: StatusDocument, name: str) -> bool:
    """Tell whether a node is drained, and every HSDir holds what is wanted since."""
    is_drained = node_of(document, name)["drained"]
    return is_drained and all(service["published"] for service in document["services"])


async def _run(cluster: LabCluster, asked: str, *args: str) -> tuple[int | None, str]:
    """Run a command against a node's daemon."""
    socket = str(cluster.nodes[asked].paths.api_socket)
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), *args, "--socket", socket),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def _close_circuits(connection: ControlConnection, purpose: str) -> None:
    """Have a tor close its circuits of one purpose."""
    circuits = await connection.getinfo("circuit-status")
    for line in circuits.decode().splitlines():
        if f"PURPOSE={purpose} " in line:
            with suppress(RequestRefused):  # it is closing already
                await connection.request(f"CLOSECIRCUIT {line.split()[0]}")


async def _send_visitors_away(cluster: LabCluster) -> None:
    """Close what earlier visits left: a client that lets go of a circuit is not always heard."""
    for node in cluster.nodes.values():
        async with control_of(node) as connection:
            await _close_circuits(connection, "HS_SERVICE_REND")
    await cluster.wait_until(
        lambda d: set(_num_visitors(d).values()) == {0}, "nodes without visitors", _LIMIT_S
    )


async def _leave(visitor: Visitor) -> None:
    """Let the visitor's tor close circuits that it would keep for another ten minutes."""
    async with talking(visitor.tor) as (connection, _):
        await _close_circuits(connection, "HS_CLIENT_REND")


@asynccontextmanager
async def _downloading(visitor: Visitor, cluster: LabCluster) -> AsyncIterator[asyncio.Task[Visit]]:
    download = asyncio.create_task(
        visitor.visit(
            cluster.address, path=f"/bytes/{_DOWNLOAD_BYTES}", timeout_s=_DOWNLOAD_LIMIT_S
        )
    )
    try:
        yield download
    finally:
        download.cancel()
        await asyncio.wait([download])


async def _play(cluster: LabCluster, visitor: Visitor) -> Story:
    async with _downloading(visitor, cluster) as download:
        busy = await cluster.wait_until(
            lambda d: any(_num_visitors(d).values()), "a visitor", _LIMIT_S
        )
        (name,) = (node for node, visitors in _num_visitors(busy).items() if visitors)
        asked = next(node for node in cluster.nodes if node != name)
        draining = asyncio.create_task(
            _run(cluster, asked, "drain", name, "--wait", "--grace", _GRACE)
        )
        try:
            hidden = await cluster.wait_until(
                lambda d: _hides(d, name), "the new descriptors", _LIMIT_S, name=asked
            )
            meanwhile = await visit_often(visitor, cluster.address, _VISITS)
            finished = await download
            was_waiting = not draining.done()
            await _leave(visitor)
            said = await draining
        finally:
            draining.cancel()
            await _run(cluster, asked, "undrain", name)
    await cluster.wait_until(is_served, "the return", _LIMIT_S, name=asked)
    return Story(
        drained=name,
        leader_after=leader_of(hidden),
        download=finished,
        visitors_meanwhile=node_of(hidden, name)["visitors"],
        was_waiting=was_waiting,
        said=said,
        meanwhile=meanwhile,
        again=await visit_often(visitor, cluster.address, _VISITS),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(shared_cluster: LabCluster, visitor: Visitor, witness: Witness) -> Story:
    """Play it: download, drain meanwhile, wait for the end, undrain."""
    await mend(shared_cluster)
    await calm(shared_cluster, witness, _CALM_S)
    await _send_visitors_away(shared_cluster)
    return await _play(shared_cluster, visitor)


async def test_the_download_ends_well(story: Story) -> None:
    assert story.download.error is None
    assert len(story.download.body) == _DOWNLOAD_BYTES


async def test_the_command_waits_until_nobody_is_connected(story: Story) -> None:
    assert story.visitors_meanwhile == 1
    assert story.was_waiting
    assert story.said == (
        0,
        f"{story.drained} is drained: no HSDir shows it, and no visitor is connected\n",
    )


async def test_no_fresh_visit_reaches_a_drained_node(story: Story) -> None:
    assert [visit.error for visit in story.meanwhile if not visit.ok] == []
    assert story.drained not in {visit.text for visit in story.meanwhile}


async def test_a_drained_node_does_not_lead(story: Story) -> None:
    assert story.leader_after != story.drained


async def test_an_undrained_node_is_visited_again(story: Story) -> None:
    assert [visit.error for visit in story.again if not visit.ok] == []
    assert story.drained in {visit.text for visit in story.again}
