"""Nodes with onion keys of their own: what clients find at each is merged, and the leader killed.

The story is played once; each test reads one thing from what was seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest_asyncio

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.lab.cluster import LabCluster, is_served, is_without
from rbcluster.lab.hsdirs import Held, NotHeld, fetch_held
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visit, Visitor
from rbcluster.lab.waiting import wait_for
from rbcluster.tor.key_directory import SECRET_KEY_NAME, read_secret_key
from rbcluster.tor.settings import Identity
from tests.e2e.care import leader_of

_LIMIT_S = 120.0
_WITHDRAWAL_LIMIT_S = 75.0
_NUM_VISITS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen."""

    nodes: frozenset[str]
    master: OnionAddress
    own: Mapping[str, OnionAddress]  # by node
    keys_of_tor: Mapping[str, OnionAddress]  # whose key tor serves with, by node
    own_points: frozenset[IntroPoint]  # that clients found at the nodes' own addresses
    merged: Held  # what HSDirs held at the same time
    before: Sequence[Visit]
    dead: str
    without: Held
    after: Sequence[Visit]
    tor_logs: str


async def _points_at(visitor: Visitor, address: OnionAddress) -> frozenset[IntroPoint]:
    held = await fetch_held(visitor.tor, address)
    return frozenset(p for found in held.descriptors.values() for p in found.points)


def _is_merged(points: frozenset[IntroPoint], shown: Collection[IntroPoint]) -> bool:
    return points.issuperset(shown) and {p.relay for p in points} == {p.relay for p in shown}


async def _agreement(
    visitor: Visitor, cluster: LabCluster, nodes: frozenset[str]
) -> tuple[frozenset[IntroPoint], Held]:
    """Wait until the merged descriptor lists what clients find at the nodes' own addresses.

    Of points that share a relay it lists one.
    """

    async def look() -> tuple[frozenset[IntroPoint], Held] | None:
        with suppress(NotHeld):
            found = [await _points_at(visitor, cluster.own_address(name)) for name in nodes]
            merged = await fetch_held(visitor.tor, cluster.address)
            points = frozenset[IntroPoint]().union(*found)
            if all(_is_merged(points, d.points) for d in merged.descriptors.values()):
                return points, merged
        return None

    return await wait_for(look, "a merged descriptor of what the nodes publish", _LIMIT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(network: PrivateNetwork, visitor: Visitor) -> AsyncIterator[Story]:
    """Let three nodes serve, then kill the leader and its tor."""
    async with LabCluster(network, name="own", identity=Identity.INSTANCE) as cluster:
        nodes = frozenset(cluster.nodes)
        document = await cluster.wait_until(is_served, "three nodes that serve", _LIMIT_S)
        own_points, merged = await _agreement(visitor, cluster, nodes)
        before = await visit_often(visitor, cluster.address, _NUM_VISITS, refetch=True)
        dead = leader_of(document)
        await cluster.nodes[dead].kill(with_tor=True)
        await cluster.wait_until(
            lambda d: is_without(d, dead), f"descriptors without {dead}", _WITHDRAWAL_LIMIT_S
        )
        _, without = await _agreement(visitor, cluster, nodes - {dead})
        after = await visit_often(visitor, cluster.address, _NUM_VISITS, refetch=True)
        yield Story(
            nodes=nodes,
            master=cluster.address,
            own={name: cluster.own_address(name) for name in nodes},
            keys_of_tor={
                name: OnionAddress(
                    read_secret_key(node.paths.instance_dir("web") / SECRET_KEY_NAME).public
                )
                for name, node in cluster.nodes.items()
            },
            own_points=own_points,
            merged=merged,
            before=before,
            dead=dead,
            without=without,
            after=after,
            tor_logs="".join(node.tor_log_text() for node in cluster.nodes.values()),
        )


def test_each_node_serves_under_an_address_of_its_own(story: Story) -> None:
    assert len({*story.own.values(), story.master}) == len(story.nodes) + 1
    assert story.keys_of_tor == story.own


def test_merged_descriptor_lists_what_clients_find_at_every_node(story: Story) -> None:
    assert len(story.own_points) >= 2 * len(story.nodes)
    for descriptor in story.merged.descriptors.values():
        assert _is_merged(story.own_points, descriptor.points)


def test_every_request_is_answered_and_every_node_answers(story: Story) -> None:
    assert [visit.error for visit in story.before if not visit.ok] == []
    assert {visit.text for visit in story.before} == story.nodes


def test_without_the_leader_the_others_publish_and_answer(story: Story) -> None:
    assert [visit.error for visit in story.after if not visit.ok] == []
    assert {visit.text for visit in story.after} == story.nodes - {story.dead}
    left = {point for found in story.without.descriptors.values() for point in found.points}
    assert left < story.own_points


def test_no_tor_failed_at_an_introduction(story: Story) -> None:
    assert "Could not get valid INTRO2 keys" not in story.tor_logs
    assert "Bug: " not in story.tor_logs
