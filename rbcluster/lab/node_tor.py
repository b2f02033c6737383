"""What a node's tor says itself, asked past rbcluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rbcluster.errors import RbclusterError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.lab.node_process import NodeProcess
from rbcluster.tor.authentication import authenticate
from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.framing import Event
from rbcluster.tor.intro_snapshot import read_intro_points
from rbcluster.tor.network_view import read_network


def _ignore(_: Event) -> None:
    """Hear no event."""


@asynccontextmanager
async def control_of(node: NodeProcess) -> AsyncIterator[ControlConnection]:
    """Open a control connection of our own to a node's tor."""
    async with open_connection(node.paths.tor_dir / "control", _ignore) as connection:
        await authenticate(connection, None)
        yield connection


async def points_of(node: NodeProcess, address: OnionAddress) -> frozenset[IntroPoint]:
    """Read the introduction points that a node's tor would publish by itself.

    :raises RbclusterError: if it has no descriptor of that address yet, or does not answer.
    """
    async with control_of(node) as connection:
        view = (await read_network(connection.getinfo, None, testing_network=True)).view
        local = await read_intro_points(connection.getinfo, address, view)
    if local is None:
        raise RbclusterError(f"the tor of {node.name} has no descriptor of {address} yet")
    return frozenset(local.points)
