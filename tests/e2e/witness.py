"""What the network itself says of a cluster, asked past rbcluster.

A status document tells what a cluster believes. Here tors are asked which introduction points they
hold, and HSDirs, through a visitor's tor, which descriptors they give out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from rbcluster.agent.status_document import StatusDocument
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Descriptor, open_descriptor
from rbcluster.hs.hashring import TimePeriod
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.hs.params import SRV_ROUNDS_PER_RUN
from rbcluster.hs.time_period import HsTimes
from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import NodeProcess
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.waiting import wait_for
from rbcluster.tor.authentication import authenticate
from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.descriptor_fetch import FetchOutcome, fetch_descriptor
from rbcluster.tor.framing import Event
from rbcluster.tor.hs_desc import parse_hs_desc
from rbcluster.tor.hsdir_exchange import HsDirExchange

_FETCH_LIMIT_S = 30.0
_NEWS_LIMIT_S = 60.0  # from a vote to the last tor that has its consensus


def _ignore(_: Event) -> None:
    """Hear no event."""


@asynccontextmanager
async def control_of(node: NodeProcess) -> AsyncIterator[ControlConnection]:
    """Open a control connection of our own to a node's tor."""
    async with open_connection(node.paths.tor_dir / "control", _ignore) as connection:
        await authenticate(connection, None)
        yield connection


class Witness:
    """Asks tors and HSDirs about one cluster."""

    def __init__(self, network: PrivateNetwork, visitor: Visitor, cluster: LabCluster) -> None:
        self._visitor = visitor
        self._cluster = cluster
        self._address = cluster.address
        interval = network.size.voting_interval
        self._times = HsTimes(
            voting_interval=interval, period_length=SRV_ROUNDS_PER_RUN * interval
        )

    async def held_points(self, name: str) -> frozenset[IntroPoint]:
        """Read the introduction points that a node's tor holds for itself."""
        async with control_of(self._cluster.nodes[name]) as connection:
            document = await connection.getinfo(f"hs/service/desc/id/{self._address.label}")
            valid_after = await connection.getinfo("consensus/valid-after")
        middle = TimePeriod.containing(_instant(valid_after), self._times)
        for period in (middle, middle.next(), middle.previous()):
        return frozenset(open_descriptor(document, self._address, period).points)

    async def given_out(self) -> dict[Fingerprint, Descriptor]:
        """Fetch the current period's descriptor from every HSDir that is responsible for it."""
        valid_after = await self._visitor.tor.getinfo("consensus/valid-after")
        period = TimePeriod.containing(_instant(valid_after), self._times)
