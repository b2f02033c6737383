"""A leader and its tor killed with -9: nobody who visits misses them.

The story is played once; each test reads one thing from what was seen.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest_asyncio

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.client import NoDaemon
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.lab.cluster import LabCluster, is_served, is_without
from rbcluster.lab.hsdirs import Held, fetch_held
from rbcluster.lab.visiting import further_visits, longest_pause_s, steady_visits, visit_often
from rbcluster.lab.visitor import Visit, Visitor
from tests.e2e.care import LogWatch, agreement, leader_of, mend, node_of, revisions_of
from tests.e2e.witness import Witness

_ELECTION_LIMIT_S = 10.0  # limits are five times what is aimed at
_WITHDRAWAL_LIMIT_S = 75.0
_RETURN_LIMIT_S = 90.0
_VISITS_BEFORE = 60
_VISITS_AFTER = 100  # so that a single failure is the one in a hundred that may fail
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What was seen."""

    nodes: frozenset[str]
    before: Sequence[Visit]
    dead: str
    dead_points: frozenset[IntroPoint]  # held by its tor just before the kill
    successor: str
    election_s: float
    withdrawn_s: float
    meanwhile: Sequence[Visit]  # by a steady visitor, from before the kill to the withdrawal
    held: Held  # by HSDirs after the withdrawal
    after: Sequence[Visit]
    returned_s: float
    again: Sequence[Visit]
    last: StatusDocument  # when all was quiet again
    revisions: Mapping[int, Sequence[int]]  # by time period, as they were seen, in turn
    findings: Sequence[str]  # of the logs


@asynccontextmanager
async def _watched_revisions(cluster: LabCluster) -> AsyncIterator[Mapping[int, Sequence[int]]]:
    """Note every change of a descriptor's revision, whichever node tells it."""
    seen: dict[int, list[int]] = {}

    async def watch() -> None:
        while True:
            try:
                revisions = revisions_of(await cluster.status())
            except NoDaemon:
                revisions = {}
            for period, revision in revisions.items():
                trail = seen.setdefault(period, [])
                if trail[-1:] != [revision]:
                    trail.append(revision)
            await asyncio.sleep(_LOOK_S)

    watching = asyncio.create_task(watch())
    try:
        yield seen
    finally:
        watching.cancel()
        await asyncio.wait([watching])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(shared_cluster: LabCluster, visitor: Visitor, witness: Witness) -> Story:
    """Kill the leader, watch the others carry on, and let it return."""
    cluster, address = shared_cluster, shared_cluster.address
    dead = leader_of(await mend(cluster))
    logs = LogWatch(cluster)
    logs.expect(rf"WARNING rbcluster\.raft\.transport: no link with {dead}: ")
    async with _watched_revisions(cluster) as revisions:
        before = await visit_often(visitor, address, _VISITS_BEFORE)
        dead_points = await witness.points_of(dead)
        async with steady_visits(visitor, address) as meanwhile:
            await further_visits(meanwhile)
            killed_at = time.monotonic()
            await cluster.nodes[dead].kill(with_tor=True)
            document = await cluster.wait_until(
                lambda d: d["cluster"]["leader"] not in {None, dead}, "a new leader", 60
            )
            elected_at = time.monotonic()
            await cluster.wait_until(
                lambda d: is_without(d, dead), f"descriptors without {dead}", 120
            )
            withdrawn_at = time.monotonic()
            await further_visits(meanwhile)
        held = await fetch_held(visitor.tor, address)
        after = await visit_often(visitor, address, _VISITS_AFTER, refetch=True)
        cluster.nodes[dead].start()
        started_at = time.monotonic()
        await cluster.wait_until(is_served, f"the return of {dead}", 120)
        returned_at = time.monotonic()
        again = await visit_often(visitor, address, _VISITS_BEFORE)
        last = await agreement(cluster)
    return Story(
        nodes=frozenset(cluster.nodes),
        before=before,
        dead=dead,
        dead_points=dead_points,
        successor=leader_of(document),
        election_s=elected_at - killed_at,
        withdrawn_s=withdrawn_at - killed_at,
        meanwhile=meanwhile,
        held=held,
        after=after,
        returned_s=returned_at - started_at,
        again=again,
        last=last,
        revisions=revisions,
        findings=logs.findings(),
    )


def answers(visits: Sequence[Visit]) -> Counter[str]:
    return Counter(visit.text for visit in visits if visit.ok)


def failures(visits: Sequence[Visit]) -> list[str]:
    return [visit.error for visit in visits if visit.error is not None]


def test_every_node_answers_some_visits_before(story: Story) -> None:
    assert failures(story.before) == []
    assert set(answers(story.before)) == story.nodes


def test_another_node_leads_soon_after_the_kill(
    story: Story, record_property: Callable[[str, object], None]
) -> None:
    figures = (
        f"new leader after {story.election_s:.2f} s, withdrawn after {story.withdrawn_s:.2f} s, "
        f"longest pause {longest_pause_s(story.meanwhile):.2f} s, back after "
        f"{story.returned_s:.2f} s; failed meanwhile: {failures(story.meanwhile)}"
    )
    record_property("failover", figures)
    print(figures)  # noqa: T201 - `pytest -rP` shows it
    assert story.successor in story.nodes - {story.dead}
    assert story.election_s < _ELECTION_LIMIT_S


def test_the_dead_node_is_soon_out_of_every_descriptor(story: Story) -> None:
    assert story.withdrawn_s < _WITHDRAWAL_LIMIT_S
    assert story.dead_points
    assert story.held.documents
    for descriptor in story.held.descriptors.values():
        assert descriptor.points
        assert not story.dead_points.intersection(descriptor.points)


def test_fresh_visits_succeed_after_the_change_and_the_dead_node_answers_none(
    story: Story,
) -> None:
    assert len(failures(story.after)) <= len(story.after) // 100
    assert set(answers(story.after)) == story.nodes - {story.dead}


def test_a_steady_visitor_is_never_without_the_page_for_long(story: Story) -> None:
    assert longest_pause_s(story.meanwhile) < _WITHDRAWAL_LIMIT_S


def test_the_dead_node_returns_and_answers_again(story: Story) -> None:
    assert story.returned_s < _RETURN_LIMIT_S
    assert node_of(story.last, story.dead)["on_show"] > 0
    assert set(answers(story.again)) == story.nodes


def test_revisions_only_rise(story: Story) -> None:
    assert any(len(trail) > 1 for trail in story.revisions.values())
    for trail in story.revisions.values():
        assert all(earlier < later for earlier, later in pairwise(trail))


def test_nothing_but_the_failure_is_complained_about(story: Story) -> None:
    assert story.findings == []
