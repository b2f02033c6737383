"""The merged descriptor as HSDirs serve it: ours, and not to be told from one of tor's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rbcluster.agent.status_document import StatusDocument
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.descriptor.derived_keys import derive_signing_keypair
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.hs.keys import DescriptorSigningKey
from rbcluster.lab.cluster import SERVICE, LabCluster, is_without
from rbcluster.lab.hsdirs import Held, fetch_held
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import COMMAND
from rbcluster.lab.plain_service import PlainService
from rbcluster.lab.visitor import Visitor
from rbcluster.tor.key_directory import import_secret_key
from tests.e2e.care import LogWatch, calm, leader_of, mend, node_of, revisions_of
from tests.e2e.witness import Witness

_CALM_S = 25.0
_LIMIT_S = 75.0
_COMMAND_LIMIT_S = 30.0
_MAX_REVISION_DIGITS = 10  # a counter of tor's stays below 2^33


async def show(held: Held, tmp_path: Path) -> dict[str, Any]:
    """Decode what one HSDir holds as an operator would: by `rbcluster descriptor show`."""
    file = tmp_path / "descriptor"
    file.write_bytes(next(iter(held.documents.values())))
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), "descriptor", "show", str(file), "--address", str(held.address)),
        *("--period-length", str(held.period.length_min), "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_COMMAND_LIMIT_S):
        output, _ = await process.communicate()
    assert process.returncode == 0
    shown: dict[str, Any] = json.loads(output)
    return shown


def num_on_show(document: StatusDocument) -> dict[str, int]:
    return {node["name"]: node["on_show"] for node in document["nodes"]}


def signing_key_due(cluster: LabCluster, held: Held) -> DescriptorSigningKey:
    """Derive the one signing key that descriptors of this period may bear, whoever publishes."""
    node = next(iter(cluster.nodes.values()))
    keypair = import_secret_key(node.paths.key_dir(SERVICE) / "hs_ed25519_secret_key").keypair
    return derive_signing_keypair(derive_blinded_keypair(keypair, held.period)).public


@pytest.mark.usefixtures("logs")
async def test_the_descriptor_on_an_hsdir_lists_what_the_tors_of_all_nodes_offer(
    cluster: LabCluster, visitor: Visitor, witness: Witness, tmp_path: Path
) -> None:
    document = await calm(cluster, witness, _CALM_S)
    offered = {name: await witness.points_of(name) for name in cluster.nodes}
    held = await fetch_held(visitor.tor, cluster.address)
    shown = await show(held, tmp_path)

    listed = [(point["relay"], point["auth_key"]) for point in shown["intro_points"]]
    relays = [relay for relay, _ in listed]
    assert sorted(set(relays)) == sorted(relays)  # a second point on a relay is out of reach
    every: list[IntroPoint] = [point for points in offered.values() for point in points]
    assert set(relays) == {str(point.relay) for point in every}
    assert num_on_show(document) == {
        name: len(set(listed) & {(str(p.relay), str(p.auth_key)) for p in points})
        for name, points in offered.items()
    }
    assert min(num_on_show(document).values()) >= 1
    assert sum(num_on_show(document).values()) == len(listed)
    assert revisions_of(document)[shown["period"]] == shown["revision"]
    assert (shown["flow_control"], shown["create2_formats"]) == (["1-2", 31], [2])
    assert not shown["expired"]


@pytest.mark.usefixtures("logs")
async def test_every_hsdir_holds_an_encoding_of_its_own_of_one_descriptor(
    cluster: LabCluster, visitor: Visitor, witness: Witness
) -> None:
    await calm(cluster, witness, _CALM_S)
    held = await fetch_held(visitor.tor, cluster.address)
    descriptors = held.descriptors.values()

    assert len(held.documents) > 1
    assert len(set(held.documents.values())) == len(held.documents)
    assert len({descriptor.revision for descriptor in descriptors}) == 1
    assert len({descriptor.points for descriptor in descriptors}) == 1
    assert {descriptor.signing_key for descriptor in descriptors} == {
        signing_key_due(cluster, held)
    }


@pytest.mark.usefixtures("logs")
async def test_the_descriptor_is_as_large_as_one_that_tor_writes_itself(
    cluster: LabCluster,
    network: PrivateNetwork,
    visitor: Visitor,
    witness: Witness,
) -> None:
    host, port = cluster.pages["a"].address
    document = await calm(cluster, witness, _CALM_S)
    num_points = sum(num_on_show(document).values())
    options = [f"HiddenServiceNumIntroductionPoints {num_points}"]
    async with PlainService(network, "as-large", (host, port), options) as plain:
        tors = await fetch_held(visitor.tor, plain.address)
    ours = await fetch_held(visitor.tor, cluster.address)
    tors_descriptor, *_ = tors.descriptors.values()

    assert len(tors_descriptor.points) == num_points
    for descriptor in ours.descriptors.values():
        assert len(descriptor.points) == num_points
        assert descriptor.sizes.middle == tors_descriptor.sizes.middle
        difference = descriptor.sizes.outer - tors_descriptor.sizes.outer
        assert abs(difference) < _MAX_REVISION_DIGITS
        assert descriptor.traits == tors_descriptor.traits
        assert descriptor.num_auth_clients == tors_descriptor.num_auth_clients
        assert descriptor.lifetime == tors_descriptor.lifetime


async def test_another_leader_signs_with_the_same_key_and_a_higher_revision(
    cluster: LabCluster, visitor: Visitor, witness: Witness, logs: LogWatch
) -> None:
    logs.expect(r"WARNING rbcluster\.raft", r"WARNING rbcluster\.agent")
    document = await calm(cluster, witness, _CALM_S)
    leader = leader_of(document)
    before = await fetch_held(visitor.tor, cluster.address)

    await cluster.nodes[leader].kill(with_tor=False)
    without = await cluster.wait_until(
        lambda d: is_without(d, leader), f"descriptors without {leader}", _LIMIT_S
    )
    mended = await mend(cluster)
    after = await fetch_held(visitor.tor, cluster.address)

    assert leader_of(without) != leader
    assert node_of(mended, leader)["on_show"] >= 1
    for held in (before, after):
        signing_keys = {descriptor.signing_key for descriptor in held.descriptors.values()}
        assert signing_keys == {signing_key_due(cluster, held)}
    old, new = revisions_of(document), revisions_of(mended)
    for period in old.keys() & new.keys():
        assert new[period] > old[period]
    assert {d.revision for d in after.descriptors.values()} == {new[after.period.number]}
