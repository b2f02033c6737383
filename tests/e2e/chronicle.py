"""What two visitors see of a cluster in a whole time period: who looks, and what is written down.

What a visitor may lose, and what not: while points are exchanged, the descriptors that HSDirs hold
are not yet those that are wanted; the status document then says that the service is not published.
A request counts as made after the re-publication unless it met such a moment: one from `_BLIND_S`
before it was seen (so long may an exchange go unseen) until all HSDirs had accepted, at any time
from the request's start to its end, or to `_USE_S` later: by then its descriptor has been used.

Not here: what must have come of it (`test_whole_period.py`, `test_load.py`).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction

from rbcluster.agent.status_document import DescriptorStatus, StatusDocument
from rbcluster.api.client import NoDaemon
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor import read_blinded_key, read_revision
from rbcluster.hs.keys import BlindedKey
from rbcluster.hs.params import SRV_ROUNDS_PER_RUN
from rbcluster.hs.revision import RevisionCounter
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visitor import Visit, Visitor
from rbcluster.tor.connection import RequestRefused
from tests.e2e.care import LogWatch, agreement

_EVERY_S = 1.0  # between the starts of a visitor's requests
_LOOK_S = 0.2
_BLIND_S = 1.0
_USE_S = 5.0
_SPARE_S = 60.0  # for a consensus to reach the last tor, and for the last visits


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the status document said at one time."""

    at: float  # Unix time, seconds
    published: bool
    on_show: Mapping[str, int]  # introduction points that descriptors list, by node
    descriptors: tuple[DescriptorStatus, ...]


@dataclass(slots=True)
class Chronicle:
    """All that was seen of the cluster and by its visitors."""

    moments: list[Moment] = field(default_factory=list)
    refetching: list[Visit] = field(default_factory=list)
    keeping: list[Visit] = field(default_factory=list)
    used: list[tuple[Visit, BlindedKey, RevisionCounter]] = field(default_factory=list)
    # ^ key and revision of the descriptor that the refetching visitor held after a visit
    findings: list[str] = field(default_factory=list)  # of the logs

    def note(self, document: StatusDocument) -> None:
        (service,) = document["services"]
        self.moments.append(
            Moment(
                at=time.time(),
                published=service["published"],
                on_show={node["name"]: node["on_show"] for node in document["nodes"]},
                descriptors=tuple(service["descriptors"]),
            )
        )

    @property
    def has_both_changes(self) -> bool:
        """Whether the shared random value has changed, and the time period for the visitor."""
        first_slots = (moment.descriptors[0] for moment in self.moments)
        has_rotated = len({descriptor["period"] for descriptor in first_slots}) > 1
        return has_rotated and len({key for _, key, _ in self.used}) > 1

    @property
    def disturbances(self) -> list[tuple[float, float]]:
        """The spans in which descriptors were being replaced (Unix time, seconds)."""
        spans: list[tuple[float, float]] = []
        for before, moment, after in zip(
            self.moments, self.moments[1:], self.moments[2:], strict=False
        ):
            if moment.published:
                continue
            start = min(before.at, moment.at - _BLIND_S)
            if spans and start <= spans[-1][1]:
                start = spans.pop()[0]
            spans.append((start, after.at))
        return spans

    def is_disturbed(self, visit: Visit) -> bool:
        used_until = visit.started_at + min(visit.seconds, _USE_S)
        return any(
            start <= used_until and visit.started_at <= end for start, end in self.disturbances
        )

    def shares_at(self, at: float) -> Mapping[str, Fraction]:
        """Tell each node's share of the points on show at a time (Unix time, seconds)."""
        on_show = next(moment.on_show for moment in self.moments if moment.at >= at)
        total = sum(on_show.values())
        return {node: Fraction(number, total) for node, number in on_show.items()}

    def figures(self, visits: Sequence[Visit]) -> str:
        """Put what a visitor saw into one line."""
        seconds = sorted(visit.seconds for visit in visits if visit.ok)
        disturbed = [visit for visit in visits if self.is_disturbed(visit)]
        return (
            f"{len(seconds)} of {len(visits)} requests answered, "
            f"{len(disturbed)} of them during a re-publication "
            f"({sum(not visit.ok for visit in disturbed)} failed); "
            f"median {statistics.median(seconds):.2f} s, "
            f"p95 {seconds[int(0.95 * len(seconds))]:.2f} s, max {seconds[-1]:.2f} s"
        )


async def watch(cluster: LabCluster, chronicle: Chronicle, over: asyncio.Event) -> None:
    while not over.is_set():
        with suppress(NoDaemon):  # a busy machine may answer late
            chronicle.note(await cluster.status())
        await asyncio.sleep(_LOOK_S)


async def ask_afresh(
    visitor: Visitor, address: OnionAddress, chronicle: Chronicle, over: asyncio.Event
) -> None:
    """Visit with a descriptor fetched anew, every second, and note which one it was."""
    while not over.is_set():
        next_at = time.monotonic() + _EVERY_S
        visit = await visitor.visit(address, refetch=True)
        chronicle.refetching.append(visit)
        # A client whose consensus lags behind the clock holds no descriptor to show after the turn.
        with suppress(RequestRefused):
            document = await visitor.tor.getinfo(f"hs/client/desc/id/{address.label}")
            chronicle.used.append((visit, read_blinded_key(document), read_revision(document)))
        await asyncio.sleep(next_at - time.monotonic())


async def ask_again(
    visitor: Visitor, address: OnionAddress, chronicle: Chronicle, over: asyncio.Event
) -> None:
    """Visit with whatever descriptor is at hand, every second."""
    while not over.is_set():
        next_at = time.monotonic() + _EVERY_S
        chronicle.keeping.append(await visitor.visit(address))
        await asyncio.sleep(next_at - time.monotonic())


async def watch_a_period(network: PrivateNetwork) -> Chronicle:
    """Start a cluster, and watch it until a period is over and its two changes have been seen."""
    async with (
        LabCluster(network, name="period") as cluster,
        Visitor(network, "refetching") as visitor,
        Visitor(network, "keeping") as other,
    ):
        await agreement(cluster)
        return await _follow(cluster, visitor, other, SRV_ROUNDS_PER_RUN * network.size.interval_s)


async def _follow(
    cluster: LabCluster, visitor: Visitor, other: Visitor, period_s: float
) -> Chronicle:
    address = cluster.address
    logs, chronicle, over = LogWatch(cluster), Chronicle(), asyncio.Event()
    await asyncio.gather(visitor.visit(address), other.visit(address))
    ends_at = time.monotonic() + period_s
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(cluster, chronicle, over))
        tasks.create_task(ask_afresh(visitor, address, chronicle, over))
        tasks.create_task(ask_again(other, address, chronicle, over))
        await cluster.wait_until(
            lambda _: time.monotonic() >= ends_at and chronicle.has_both_changes,
            "a whole period with a rotation and a turn",
            period_s + _SPARE_S,
        )
        over.set()
    chronicle.note(await cluster.wait_until(is_served, "the end", _SPARE_S))
    chronicle.findings = logs.findings()
    return chronicle
