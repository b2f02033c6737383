"""The main job, shown: a private Tor network, three nodes, a leader killed with -9, a visitor.

Everything is real but the network's size: tor, Raft, descriptors, circuits. The visitor is a client
that no node controls; what is said about visits comes from its own record.

Overview::

    run_demo(stage) -> DemoFigures    raises DemoFailed when something did not happen
    Stage                             what is told while it works
    Lab                               what it is played with; tests bring models
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rbcluster.agent.status_document import StatusDocument
from rbcluster.errors import RbclusterError
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.lab.cluster import LabCluster, is_served, is_without
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visiting import (
    VISITS_AT_ONCE,
    further_visits,
    longest_pause_s,
    steady_visits,
    visit_often,
)
from rbcluster.lab.visitor import Visit, Visitor

SERVE_LIMIT_S = 90.0
ELECTION_LIMIT_S = 30.0
WITHDRAWAL_LIMIT_S = 60.0
REJOIN_LIMIT_S = 90.0
VISITS_PER_LOOK = 60
MIN_SUCCESS = 0.99  # of all fresh visits after the change: one in a hundred may fail


class DemoFailed(RbclusterError):  # noqa: N818 - it says what happened
    """Something that the demo shows did not happen."""


class Stage(Protocol):
    """Where the demo tells what it does."""

    def begin(self, what: str) -> None:
        """Say what is being done now."""

    def progress(self, detail: str) -> None:
        """Say how far it is."""

    def done(self, what: str) -> None:
        """Say what has been achieved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFigures:
    """What the demo measured. Times are in seconds."""

    nodes: int
    requests_ok: int  # all visits, those during the failure included
    requests_failed: int
    answered_by: dict[str, int]
    election_seconds: float  # from the kill to a new leader
    withdrawn_seconds: float  # ... to every HSDir having accepted descriptors without the dead node
    longest_pause_seconds: float  # the longest a visitor waited from one page to the next
    rejoined_seconds: float  # from the dead node's start to its return to the descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What the demo is played with."""

    network: Callable[[], PrivateNetwork] = PrivateNetwork
    visitor: Callable[[PrivateNetwork], Visitor] = Visitor
    cluster: Callable[[PrivateNetwork, Sequence[str]], LabCluster] = LabCluster


async def run_demo(
    stage: Stage, names: Sequence[str] = ("a", "b", "c"), lab: Lab | None = None
) -> DemoFigures:
    """Play the whole demo.

    :param names: the nodes'; at least three.
    :param lab: what to play it with, if not the real parts.
    :raises DemoFailed: when something did not happen; the text says what.
    :raises RbclusterError: when the network or the cluster could not be started.
    """
    lab = lab or Lab()
    network = lab.network()
    stage.begin("starting a private Tor network on loopback")
    await network.start(lambda done, of: stage.progress(f"{done} of {of} tors ready"))
    try:
        stage.done(f"a private Tor network of {len(network.processes)} tors")
        async with lab.visitor(network) as visitor, lab.cluster(network, names) as cluster:
            return await _play(stage, cluster, visitor)
    except TimeoutError as error:
        raise DemoFailed(str(error)) from error
    finally:
        await network.stop()


async def _play(stage: Stage, cluster: LabCluster, visitor: Visitor) -> DemoFigures:
    stage.begin(f"starting {len(cluster.nodes)} nodes, each with its own tor and web page")
    document = await cluster.wait_until(is_served, "a merged descriptor", SERVE_LIMIT_S)
    leader = _leader(document)
    stage.done(f"{cluster.address} is served by {len(cluster.nodes)} nodes; {leader} leads")

    before = answered_by(await _look(stage, cluster, visitor))
    _require(set(before) == set(cluster.nodes), f"only {sorted(before)} answered before the kill")

    points = await cluster.points_of(leader)
    _require(bool(points), f"the tor of {leader} holds no introduction points")
    async with steady_visits(visitor, cluster.address) as steady:
        await further_visits(steady)  # a pause is counted from the last page before it
        stage.begin(f"killing the leader {leader} and its tor with -9")
        killed_at = _now()
        await cluster.nodes[leader].kill(with_tor=True)
        election_s, withdrawn_s = await _watch_failover(stage, cluster, leader, killed_at)
        await further_visits(steady)  # ... to the first one after it

    await _watch_hsdirs(stage, cluster, visitor, leader, points)
    without_it = await _look(stage, cluster, visitor, without=leader)
    ghosts = answered_by(without_it).get(leader, 0)
    _require(not ghosts, f"the dead node {leader} answered {ghosts} times")

    rejoined_s = await _watch_return(stage, cluster, leader)
    with_it = await _look(stage, cluster, visitor)
    _require(
        leader in answered_by(with_it),
        f"{leader} is in the descriptor but answered none of the visits",
    )
    require_success([*without_it, *with_it])

    visits = visitor.visits
    return DemoFigures(
        nodes=len(cluster.nodes),
        requests_ok=sum(visit.ok for visit in visits),
        requests_failed=sum(not visit.ok for visit in visits),
        answered_by=answered_by(visits),
        election_seconds=round(election_s, 2),
        withdrawn_seconds=round(withdrawn_s, 2),
        longest_pause_seconds=round(longest_pause_s(steady), 2),
        rejoined_seconds=round(rejoined_s, 2),
    )


async def _watch_failover(
    stage: Stage, cluster: LabCluster, dead: str, killed_at: float
) -> tuple[float, float]:
    """Wait for the new leader and for the descriptor without the dead node; return the seconds."""
    stage.begin("waiting for a new leader")
    document = await cluster.wait_until(
        lambda d: d["cluster"]["leader"] not in {None, dead}, "a new leader", ELECTION_LIMIT_S
    )
    election_s = _now() - killed_at
    stage.done(f"{_leader(document)} leads, {election_s:.2f} s after the kill")
    stage.begin(f"waiting until every HSDir has accepted descriptors without {dead}")
    await cluster.wait_until(
        lambda d: is_without(d, dead), f"descriptors without {dead}", WITHDRAWAL_LIMIT_S
    )
    withdrawn_s = _now() - killed_at
    stage.done(
        f"every HSDir accepted descriptors without {dead}, {withdrawn_s:.1f} s after the kill"
    )
    return election_s, withdrawn_s


async def _watch_hsdirs(
    stage: Stage,
    cluster: LabCluster,
    visitor: Visitor,
    dead: str,
    points: Collection[IntroAuthKey],
) -> None:
    """Check by the visitor's tor what the cluster says of HSDirs.

    :param points: what the dead node's tor held.
    """
    stage.begin("fetching the descriptor from every HSDir that clients ask now")
    listed = await visitor.fetch_points(cluster.address)
    _require(bool(listed), "no HSDir is responsible for the descriptor")
    ghosts = [hsdir for hsdir, shown in listed.items() if not shown.isdisjoint(points)]
    _require(not ghosts, f"{len(ghosts)} of {len(listed)} HSDirs still list points of {dead}")
    stage.done(f"none of the {len(listed)} HSDirs that clients ask now lists {dead} any more")


async def _watch_return(stage: Stage, cluster: LabCluster, dead: str) -> float:
    """Start the dead node and wait until it is in the descriptor again; return the seconds."""
    stage.begin(f"starting {dead} again")
    started_at = _now()
    cluster.nodes[dead].start()
    await cluster.wait_until(is_served, f"the return of {dead}", REJOIN_LIMIT_S)
    rejoined_s = _now() - started_at
    stage.done(f"{dead} is back in the descriptor after {rejoined_s:.1f} s")
    return rejoined_s


async def _look(
    stage: Stage, cluster: LabCluster, visitor: Visitor, without: str | None = None
) -> list[Visit]:
    """Visit by fresh circuits, a few at once, each few with a descriptor fetched anew."""
    stage.begin(f"visiting the onion page {VISITS_PER_LOOK} times over fresh circuits")
    visits: list[Visit] = []
    while len(visits) < VISITS_PER_LOOK:
        visits += await visit_often(visitor, cluster.address, VISITS_AT_ONCE)
        stage.progress(f"{len(visits)} of {VISITS_PER_LOOK}")
    ok = sum(visit.ok for visit in visits)
    shares = ", ".join(f"{node} {number}" for node, number in answered_by(visits).items())
    note = f" (without {without})" if without else ""
    stage.done(f"{ok} of {len(visits)} visits answered{note}: {shares}")
    return visits


def answered_by(visits: Iterable[Visit]) -> dict[str, int]:
    """Count the visits that each node answered."""
    return dict(sorted(Counter(visit.text for visit in visits if visit.ok).items()))


def require_success(visits: Sequence[Visit]) -> None:
    """Check that as good as every visit was answered.

    :raises DemoFailed: if fewer were than `MIN_SUCCESS` says; with the reason of one.
    """
    errors = [visit.error for visit in visits if visit.error is not None]
    _require(
        len(visits) - len(errors) >= MIN_SUCCESS * len(visits),
        f"{len(errors)} of {len(visits)} visits failed: {next(iter(errors), '')}",
    )


def _leader(document: StatusDocument) -> str:
    leader = document["cluster"]["leader"]
    if leader is None:
        raise DemoFailed("the cluster has no leader")
    return leader


def _now() -> float:
    """Tell the loop's time, in seconds."""
    return asyncio.get_running_loop().time()


def _require(holds: bool, failure: str) -> None:
    if not holds:
        raise DemoFailed(failure)
