"""Takeover: an address that something else published before becomes the cluster's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest_asyncio

from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.descriptor import Descriptor, DescriptorContent, build_descriptor
from rbcluster.hs.hashring import HashRing, slot_times
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter, RevisionScheme
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.hsdirs import Held, fetch_held, talking
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.plain_service import PlainService
from rbcluster.lab.tor_process import TorProcess
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visitor
from rbcluster.lab.webpage import WebPage
from rbcluster.tor.descriptor_upload import UploadOutcome, upload_descriptor
from rbcluster.tor.key_directory import import_secret_key
from rbcluster.tor.network_view import read_network
from tests.e2e.care import LogWatch, calm, revisions_of
from tests.e2e.witness import Witness

_LIMIT_S = 180.0
_CALM_S = 15.0
_NUM_VISITS = 10
_AHEAD = 2**19  # 16 s of tor's own counter: more than a cluster takes to start
_STARTING = (  # for a tor that takes more than ten seconds
    "tor has no consensus yet",
    "no microdescriptor of any HSDir yet",
    "no consensus to verify a report against yet",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What a plain tor leaves behind: its master key, and its descriptors on the HSDirs."""

    key_file: Path
    keypair: IdentityKeypair
    held: Held

    @property
    def descriptor(self) -> Descriptor:
        """One of those that visitors find."""
        return next(iter(self.held.descriptors.values()))


@pytest_asyncio.fixture(loop_scope="session")
async def former(network: PrivateNetwork, visitor: Visitor, tmp_path: Path) -> Former:
    """Return what is left of a plain tor that has published its service and ended."""
    key_file = tmp_path / "key"
    async with WebPage("plain") as page, PlainService(network, "former", page.address) as plain:
        shutil.copy(plain.key_file, key_file)
        held = await fetch_held(visitor.tor, plain.address)
        visit = await visitor.visit(plain.address)
    shutil.rmtree(network.directory / "former")  # the next one has another key
    assert (visit.error, visit.text) == (None, "plain")
    return Former(key_file=key_file, keypair=import_secret_key(key_file).keypair, held=held)


async def outdo(former: Former, client: TorProcess) -> Mapping[int, int]:
    """Post both of its descriptors again, far ahead of tor's own counter.

    :returns: the revision that every HSDir now holds, by time period.
    """
    view = (await read_network(client.getinfo, None, testing_network=True)).view
    now, revisions = datetime.now(UTC), {}
    async with talking(client) as (connection, exchange):
        for slot in slot_times(view).values():
            keypair = derive_blinded_keypair(former.keypair, slot.period)
            revision = RevisionScheme.from_keypair(keypair).revision_for(slot, now) + _AHEAD
            content = DescriptorContent(
                identity=former.keypair.public,
                period=slot.period,
                keypair=keypair,
                revision=RevisionCounter(revision),
                points=former.descriptor.points,
                traits=former.descriptor.traits,
            )
            document = build_descriptor(content, now, os.urandom)
            for hsdir in HashRing.at(view, slot).responsible(keypair.public):
                result = await upload_descriptor(
                    connection, exchange, former.held.address, document, hsdir
                )
                assert result.outcome is UploadOutcome.UPLOADED, result.detail
            revisions[slot.period.number] = revision
    return revisions


async def take_over(
    network: PrivateNetwork, visitor: Visitor, former: Former, names: tuple[str, ...]
) -> Mapping[int, int]:
    """Start a cluster with its key and check what visitors find then.

    :returns: the revisions accepted by every HSDir, by time period.
    """
    async with LabCluster(network, names, name="takeover", key=former.key_file) as cluster:
        logs = LogWatch(cluster)
        logs.expect(*_STARTING)
        witness = Witness(visitor, cluster)
        assert cluster.address == former.held.address

        await cluster.wait_until(is_served, "the takeover", _LIMIT_S)
        document = await calm(cluster, witness, _CALM_S)
        points = frozenset().union(*[await witness.points_of(name) for name in names])
        held = await fetch_held(visitor.tor, cluster.address)
        visits = await visit_often(visitor, cluster.address, _NUM_VISITS, refetch=True)

        for descriptor in held.descriptors.values():
            assert descriptor.revision == revisions_of(document)[held.period.number]
            assert set(descriptor.points) <= points
        assert [visit.error for visit in visits if not visit.ok] == []
        assert {visit.text for visit in visits} <= set(names)
        assert logs.findings() == []
    return revisions_of(document)


async def test_descriptors_of_a_plain_tor_give_way_on_every_hsdir(
    network: PrivateNetwork, visitor: Visitor, former: Former
) -> None:
    revisions = await take_over(network, visitor, former, ("x", "y"))

    assert revisions[former.held.period.number] > former.descriptor.revision


async def test_descriptors_far_ahead_of_the_counter_give_way_too(
    network: PrivateNetwork, visitor: Visitor, former: Former
) -> None:
    to_exceed = await outdo(former, visitor.tor)
    revisions = await take_over(network, visitor, former, ("z",))

    common = revisions.keys() & to_exceed.keys()  # a rotation may have taken one away
    assert common
    for period in common:
        assert revisions[period] > to_exceed[period]
