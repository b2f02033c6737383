"""What cluster.toml tells the machines: who founds the cluster, and whom a node begins with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rbcluster.core.commands import SeedCluster
from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.core.state import Member, Role, Wish
from rbcluster.raft.settings import Founding, RaftSettings
from rbcluster.raft.tls import TlsFiles
from tests.sim import site
from tests.sim.scenario import Place, Scenario

CLUSTER = ClusterId(bytes(16))


def founding(scenario: Scenario) -> SeedCluster:
    """Say how the cluster is founded: by those that have a place in it from the beginning."""
    return SeedCluster(
        name="simulated",
        cluster_id=CLUSTER,
        members=tuple(
            Member(node=name, address=f"{name}:1", role=Role(place.value), wish=Wish(place.value))
            for name, place in zip(site.NAMES, scenario.places, strict=False)
            if place is not Place.SPARE
        ),
        services={site.SITE: "site"},
        policy=scenario.policy,
    )


def settings(name: NodeId, members: Iterable[Member], directory: Path) -> RaftSettings:
    """Say what a file with these members says to one node."""
    wishes = {member.node: member.wish for member in members}
    voters = frozenset(node for node, wish in wishes.items() if wish is Wish.VOTER)
    others = wishes.keys() - {name}
    unused = directory / "tls"  # links are no sockets here
    return RaftSettings(
        cluster=CLUSTER,
        node=name,
        listen=(name.name, 1),
        peers={peer: (peer.name, 1) for peer in sorted(others & voters)},
        data_dir=directory,
        tls=TlsFiles(ca=unused, cert=unused, key=unused),
        learner=name not in voters,
        learners={peer: (peer.name, 1) for peer in sorted(others - voters)},
        founding=Founding(voters=voters, founder=min(voters)),
    )
