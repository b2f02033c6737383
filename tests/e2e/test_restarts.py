"""rbcluster's own processes restarted and killed, while their tors go on serving."""

from __future__ import annotations

import signal

import pytest

from rbcluster.agent.status_document import StatusDocument
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.lab.cluster import LabCluster, is_served, is_without
from rbcluster.lab.hsdirs import Held, fetch_held
from rbcluster.lab.visiting import further_visits, steady_visits, visit_often
from rbcluster.lab.visitor import Visit, Visitor
from tests.e2e.care import (
    LogWatch,
    agreement,
    calm,
    leader_of,
    node_of,
    revisions_of,
)
from tests.e2e.witness import Witness

_CALM_S = 40.0  # for a restart and what is seen of it
_LONG_CALM_S = 70.0  # for two of them, and a withdrawal
_LIMIT_S = 60.0
_VISITS = 30


def failures(visits: list[Visit]) -> list[str]:
    return [visit.error for visit in visits if visit.error is not None]


def points_of(held: Held) -> list[IntroAuthKey]:
    """List the points on show, in the order that every HSDir agrees upon."""
    (order,) = {
        tuple(point.auth_key for point in descriptor.points)
        for descriptor in held.descriptors.values()
    }
    return list(order)


def is_back(document: StatusDocument, name: str) -> bool:
    """Tell whether a node sees all well, its own tor and links included."""
    if not is_served(document):
        return False
    node = node_of(document, name)
    return node["can_publish"] is True and node["state"] == "follower"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restarted_follower_changes_nothing_outside(
    cluster: LabCluster,
    visitor: Visitor,
    witness: Witness,
    logs: LogWatch,
    number: signal.Signals,
) -> None:
    before = await calm(cluster, witness, _CALM_S)
    name = next(n for n in cluster.nodes if n != leader_of(before))
    logs.expect(rf"WARNING rbcluster\.raft\.transport: no link with {name}: ")
    node = cluster.nodes[name]
    tor_pid, points = node.tor_pid, await witness.points_of(name)

    async with steady_visits(visitor, cluster.address) as visits:
        await (node.stop() if number is signal.SIGTERM else node.kill(with_tor=False))
        node.start()
        await cluster.wait_until(
            lambda d: is_back(d, name), f"the return of {name}", _LIMIT_S, name=name
        )
        await further_visits(visits)
    after = await agreement(cluster)

    assert failures(visits) == []
    assert tor_pid is not None
    assert node.tor_pid == tor_pid
    assert await witness.points_of(name) == points
    assert revisions_of(after) == revisions_of(before)
    assert after["cluster"]["term"] == before["cluster"]["term"]
    held = await fetch_held(visitor.tor, cluster.address)
    assert {d.revision for d in held.descriptors.values()} == {
        revisions_of(before)[held.period.number]
    }


async def test_all_nodes_killed_at_once_come_back_with_their_state(
    cluster: LabCluster, visitor: Visitor, witness: Witness, logs: LogWatch
) -> None:
    logs.expect(r"WARNING rbcluster\.raft\.transport: no link with ", r"controller: tor: ")
    before = await calm(cluster, witness, _LONG_CALM_S)
    shown = points_of(await fetch_held(visitor.tor, cluster.address))
    tor_pids = [node.tor_pid for node in cluster.nodes.values()]

    for node in cluster.nodes.values():
        node.send_kill(with_tor=False)
    for node in cluster.nodes.values():
        await node.kill(with_tor=False)
        node.start()
    after = await cluster.wait_until(is_served, "the return of all nodes", _LIMIT_S)

    assert [node.tor_pid for node in cluster.nodes.values()] == tor_pids
    assert after["cluster"]["term"] > before["cluster"]["term"]
    assert after["cluster"]["commit_index"] > before["cluster"]["commit_index"]
    old, new = revisions_of(before), revisions_of(after)
    assert all(new[period] >= old[period] for period in old)
    visits = await visit_often(visitor, cluster.address, _VISITS)
    assert failures(visits) == []
    await agreement(cluster)  # byte for byte

    follower = next(name for name in cluster.nodes if name != leader_of(after))
    await cluster.nodes[follower].kill(with_tor=False)  # so its points go, and come back
    await cluster.wait_until(
        lambda d: is_without(d, follower), f"descriptors without {follower}", _LIMIT_S
    )
    cluster.nodes[follower].start()
    await cluster.wait_until(
        lambda d: is_served(d) and all(revisions_of(d)[period] > new[period] for period in new),
        "the next publication",
        _LIMIT_S,
    )
    held = await fetch_held(visitor.tor, cluster.address)
    assert min(d.revision for d in held.descriptors.values()) > new[held.period.number]
    # Their order follows from a seed that the founder drew: it was not drawn again.
    assert points_of(held) == shown


async def test_a_leader_told_to_stop_hands_over_before_it_goes(
    cluster: LabCluster, visitor: Visitor, witness: Witness, logs: LogWatch
) -> None:
    before = await calm(cluster, witness, _CALM_S)
    leader = leader_of(before)
    logs.expect(rf"WARNING rbcluster\.raft\.transport: no link with {leader}: ")

    async with steady_visits(visitor, cluster.address) as visits:
        await cluster.nodes[leader].stop()
        without = await cluster.status()  # at once: nobody had to notice a silence
        cluster.nodes[leader].start()
        await cluster.wait_until(
            lambda d: is_back(d, leader), f"the return of {leader}", _LIMIT_S, name=leader
        )
        await further_visits(visits)

    assert leader_of(without) not in {None, leader}
    assert failures(visits) == []
    old, new = revisions_of(before), revisions_of(await agreement(cluster))
    assert all(new[period] >= old[period] for period in old)
