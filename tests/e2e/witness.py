"""What the tors of a cluster say themselves, asked past rbcluster.

A status document tells what a cluster believes; a tor, which introduction points it holds, and what
time it is in the network. What HSDirs hold: `rbcluster/lab/hsdirs.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.hashring import slot_times
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.hs.time_period import DescriptorSlot
from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.node_tor import control_of, points_of
from rbcluster.lab.visitor import Visitor
from rbcluster.tor.network_view import read_network


class Witness:
    """Asks the tors of one cluster, and a visitor's."""

    def __init__(self, visitor: Visitor, cluster: LabCluster) -> None:
        self._visitor = visitor
        self._cluster = cluster
        self._address = cluster.address

    async def points_of(self, name: str) -> frozenset[IntroPoint]:
        """Read the introduction points that a node's tor would publish by itself."""
        return await points_of(self._cluster.nodes[name], self._address)

    async def calm_s(self) -> float:
        """Tell how long nothing will change by itself (seconds): until the next shared random
        value, at which all tors exchange their points. 0 while some of them are doing so.
        """
        view = await self._view()
        run_start = _run_start(view)
        for node in self._cluster.nodes.values():
            async with control_of(node) as connection:
                other = (await read_network(connection.getinfo, None, testing_network=True)).view
            if _run_start(other) != run_start:
                return 0.0
        end = run_start + view.times.srv_run_length
        return max(0.0, (end - datetime.now(UTC)).total_seconds())

    async def rotated_s(self) -> float:
        """Tell how long ago the shared random value changed (seconds)."""
        return (datetime.now(UTC) - _run_start(await self._view())).total_seconds()

    async def _view(self) -> ConsensusView:
        return (await read_network(self._visitor.tor.getinfo, None, testing_network=True)).view


def _run_start(view: ConsensusView) -> datetime:
    return slot_times(view)[DescriptorSlot.SECOND].srv_run_start
