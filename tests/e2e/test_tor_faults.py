"""What befalls the tors of a cluster, and the relays they use."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter

import pytest

from rbcluster.agent.status_document import StatusDocument
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.lab.cluster import LabCluster, is_served, is_without
from rbcluster.lab.hsdirs import fetch_held
from rbcluster.lab.network import BOOTSTRAPPED, PrivateNetwork
from rbcluster.lab.node_process import NodeProcess
from rbcluster.lab.node_tor import control_of
from rbcluster.lab.tor_process import TorProcess
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.waiting import wait_for
from tests.e2e.care import (
    LogWatch,
    agreement,
    calm,
    leader_of,
    node_of,
    revisions_of,
)
from tests.e2e.witness import Witness

_CALM_S = 30.0
_HAND_OVER_LIMIT_S = 10.0  # five times the 2 s for which a leader may be unable to publish
_RELOAD_LIMIT_S = 10.0
_CHANGE_LIMIT_S = 10.0
_WITHDRAWAL_LIMIT_S = 75.0
_RETURN_LIMIT_S = 90.0
_REPLACEMENT_LIMIT_S = 40.0
# Tor gives up a circuit to an introduction point after 8.5 s here (circuit_expire_building: 9/6 of
# CircuitBuildTimeout, and a second), and tries a point four times before it takes another relay,
# with which it begins anew. A machine short of processor time takes that long: 60 s were seen.
_WHOLE_LIMIT_S = 150.0
_VISITS = 20


async def answers(cluster: LabCluster, visitor: Visitor) -> set[str]:
    """Visit some times, each time with a descriptor just fetched; return who answered."""
    visits = await visit_often(visitor, cluster.address, _VISITS, refetch=True)
    assert [visit.error for visit in visits if not visit.ok] == []
    return {visit.text for visit in visits}


async def until_it_answers(cluster: LabCluster, visitor: Visitor, name: str) -> None:
    """Wait until a node is back in the descriptor, and visit until it answers."""
    await cluster.wait_until(is_served, f"the return of {name}", _RETURN_LIMIT_S)

    async def look() -> bool | None:
        visit = await visitor.visit(cluster.address, refetch=True)
        assert visit.ok, visit.error
        return True if visit.text == name else None

    await wait_for(look, f"an answer of {name}", _RETURN_LIMIT_S)


@contextmanager
def locked_out(node: NodeProcess) -> Iterator[None]:
    """Hold a node's tor directory as another tor would, so that no tor can start in it."""
    descriptor = os.open(node.paths.tor_dir / "data" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def test_a_leader_whose_tor_died_hands_over_and_returns_with_a_new_one(
    cluster: LabCluster, visitor: Visitor, logs: LogWatch
) -> None:
    leader = leader_of(await agreement(cluster))
    node, others = cluster.nodes[leader], set(cluster.nodes) - {leader}
    tor_pid = node.tor_pid
    logs.expect(r"WARNING rbcluster\.agent\.office: handing over to node=", r"controller: tor: ")
    logs.expect(r"\[err\] set_options\(\): Bug: Acting on config options left us in a broken state")

    node.signal_tor(signal.SIGKILL)
    with locked_out(node):
        handed_over = await cluster.wait_until(
            lambda d: d["cluster"]["leader"] in others, "a hand-over", _HAND_OVER_LIMIT_S
        )
        hidden = await cluster.wait_until(
            lambda d: is_without(d, leader), f"descriptors without {leader}", _WITHDRAWAL_LIMIT_S
        )
        answered = await answers(cluster, visitor)
    assert handed_over["cluster"]["leader"] in others
    assert node_of(hidden, leader)["state"] == "follower"  # it lives, and says what ails it
    assert node_of(hidden, leader)["faults"]
    assert answered <= others

    await until_it_answers(cluster, visitor, leader)
    assert node.tor_pid not in {None, tor_pid}


async def test_a_leader_whose_tor_hangs_hands_over_and_takes_no_visits(
    cluster: LabCluster, visitor: Visitor, logs: LogWatch
) -> None:
    leader = leader_of(await agreement(cluster))
    node, others = cluster.nodes[leader], set(cluster.nodes) - {leader}
    tor_pid = node.tor_pid
    logs.expect(r"WARNING rbcluster\.agent\.office: handing over to node=", r"controller: tor: ")

    node.signal_tor(signal.SIGSTOP)
    try:
        await cluster.wait_until(
            lambda d: d["cluster"]["leader"] in others, "a hand-over", _HAND_OVER_LIMIT_S
        )
        hidden = await cluster.wait_until(
            lambda d: is_without(d, leader), f"descriptors without {leader}", _WITHDRAWAL_LIMIT_S
        )
        answered = await answers(cluster, visitor)
    finally:
        node.signal_tor(signal.SIGCONT)
    assert any("within 2 s" in fault for fault in node_of(hidden, leader)["faults"])
    assert answered <= others

    await until_it_answers(cluster, visitor, leader)
    assert node.tor_pid == tor_pid


@pytest.mark.usefixtures("logs")
async def test_a_reload_of_tor_changes_nothing_outside(
    cluster: LabCluster, visitor: Visitor, witness: Witness
) -> None:
    before = await calm(cluster, witness, _CALM_S)
    name = next(n for n in cluster.nodes if n != leader_of(before))
    node, points = cluster.nodes[name], await witness.points_of(name)
    num_reloads = node.tor_log_text().count("Received reload signal")

    node.signal_tor(signal.SIGHUP)

    async def look() -> bool | None:
        done = node.tor_log_text().count("Received reload signal") > num_reloads
        return True if done else None

    await wait_for(look, "the reload", _RELOAD_LIMIT_S)
    answered = await answers(cluster, visitor)
    async with control_of(node) as connection:
        options = await connection.getconf("PublishHidServDescriptors", "HiddenServiceOptions")
    after = await agreement(cluster)
    assert ("publishhidservdescriptors", "0") in options
    assert ("hiddenserviceonionbalanceinstance", "1") in options
    assert await witness.points_of(name) == points
    assert revisions_of(after) == revisions_of(before)
    assert name in answered


async def test_a_node_whose_tor_would_publish_by_itself_is_withdrawn_until_that_is_set_right(
    cluster: LabCluster, visitor: Visitor, logs: LogWatch
) -> None:
    leader = leader_of(await agreement(cluster))
    name = next(n for n in cluster.nodes if n != leader)
    logs.expect(r"controller: tor: PublishHidServDescriptors is 1: ")

    async with control_of(cluster.nodes[name]) as connection:
        await connection.request("SETCONF PublishHidServDescriptors=1")
        hidden = await cluster.wait_until(
            lambda d: is_without(d, name), f"descriptors without {name}", _WITHDRAWAL_LIMIT_S
        )
        answered = await answers(cluster, visitor)
        await connection.request("SETCONF PublishHidServDescriptors=0")
    (fault,) = node_of(hidden, name)["faults"]
    assert fault.startswith("PublishHidServDescriptors is 1")
    assert any(fault in problem for problem in hidden["problems"])
    assert answered <= set(cluster.nodes) - {name}

    await until_it_answers(cluster, visitor, name)


@pytest.mark.timeout(600)  # it may wait for others
@pytest.mark.usefixtures("alone")  # a relay that dies is missed by every cluster of the network
async def test_the_points_at_a_dead_relay_are_soon_replaced(
    cluster: LabCluster,
    network: PrivateNetwork,
    visitor: Visitor,
    witness: Witness,
    logs: LogWatch,
) -> None:
    logs.expect(r"controller: tor: ", r"WARNING rbcluster\.agent\.office: handing over to node=")
    document = await calm(cluster, witness, _CALM_S)
    relay = await find_spare(network, cluster, visitor)
    fingerprint = await fingerprint_of(relay)
    num_points = points_held(document)
    relay.kill()
    try:

        async def look() -> bool | None:
            held = await fetch_held(visitor.tor, cluster.address, dead=fingerprint)
            relays = {p.relay for d in held.descriptors.values() for p in d.points}
            return True if fingerprint not in relays else None

        await wait_for(look, "descriptors without it", _REPLACEMENT_LIMIT_S)
        await cluster.wait_until(
            lambda d: points_held(d) == num_points, "another point instead of it", _WHOLE_LIMIT_S
        )
        assert await answers(cluster, visitor) <= set(cluster.nodes)
    finally:
        relay.start()
    await relay.wait_for_log(BOOTSTRAPPED, _RETURN_LIMIT_S)
    # Should it be an HSDir, it has forgotten its descriptors: have new ones published to all.
    cluster.nodes[leader_of(document)].signal_tor(signal.SIGKILL)
    await cluster.wait_until(lambda d: not is_served(d), "a change", _CHANGE_LIMIT_S)
    await cluster.wait_until(is_served, "a descriptor on every HSDir", _RETURN_LIMIT_S)
    await fetch_held(visitor.tor, cluster.address)


def points_held(document: StatusDocument) -> dict[str, int]:
    return {node["name"]: node["intro_points"] for node in document["nodes"]}


async def fingerprint_of(relay: TorProcess) -> Fingerprint:
    return Fingerprint.from_hex((await relay.getinfo("fingerprint")).decode())


async def find_spare(network: PrivateNetwork, cluster: LabCluster, visitor: Visitor) -> TorProcess:
    """Find a relay with an introduction point that does as little as possible besides.

    A tor whose guard dies is busy with itself for a while; what an HSDir holds dies with it.
    """
    held = await fetch_held(visitor.tor, cluster.address)
    shown = {point.relay for d in held.descriptors.values() for point in d.points}
    circuits = (await visitor.tor.getinfo("circuit-status")).decode()
    for node in cluster.nodes.values():
        async with control_of(node) as connection:
            circuits += (await connection.getinfo("circuit-status")).decode()
    ranked = []
    for relay in network.processes[network.size.num_authorities :]:
        fingerprint = await fingerprint_of(relay)
        if fingerprint in shown:
            num_first = circuits.count(f" ${fingerprint}~")
            num_middle = circuits.count(f",${fingerprint}~{relay.directory.name},")
            ranked.append((num_first, fingerprint in held.documents, num_middle, relay))
    return min(ranked, key=itemgetter(0, 1, 2))[3]
