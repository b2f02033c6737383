"""One whole time period of the private network, seen by two visitors who ask every second.

Within it the shared random value changes, at which every tor exchanges its introduction points, and
the time period turns, at which clients change from one descriptor to the other.

What a visitor may lose, and what not: while points are exchanged, the descriptors that HSDirs hold
are not yet those that are wanted; the status document then says that the service is not published.
A request counts as made after the re-publication unless it met such a moment: one from `_BLIND_S`
before it was seen (so long may an exchange go unseen) until all HSDirs had accepted, at any time
from the request's start to its end, or to `_USE_S` later: by then its descriptor has been used.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from rbcluster.agent.status_document import DescriptorStatus, StatusDocument
from rbcluster.api.client import NoDaemon
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor import read_blinded_key, read_revision
from rbcluster.hs.keys import BlindedKey
from rbcluster.hs.params import SRV_ROUNDS_PER_RUN
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.visitor import Visit, Visitor
from rbcluster.tor.connection import RequestRefused
from tests.e2e.care import LogWatch, mend

_EVERY_S = 1.0  # between the starts of a visitor's requests
_LOOK_S = 0.2
_BLIND_S = 1.0
_USE_S = 5.0
_MAX_SECONDS = 20.0
_MAX_DISTURBED = 0.25  # of all requests; an HSDir that does not answer is asked again after 30 s
_NUM_CHANGES = 2  # the rotation and the turn: what was in flight may hang until it is given up
_SPARE_S = 60.0  # for a consensus to reach the last tor, and for the last visits


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the status document said at one time."""

    at: float  # Unix time, seconds
    published: bool
    descriptors: tuple[DescriptorStatus, ...]


@dataclass(slots=True)
class Chronicle:
    """All that was seen of the cluster and by its visitors."""

    moments: list[Moment] = field(default_factory=list)
    refetching: list[Visit] = field(default_factory=list)
    keeping: list[Visit] = field(default_factory=list)
    used: list[tuple[Visit, BlindedKey, int]] = field(default_factory=list)
    # ^ key and revision of the descriptor that the refetching visitor held after a visit
    findings: list[str] = field(default_factory=list)  # of the logs

    def note(self, document: StatusDocument) -> None:
        (service,) = document["services"]
        self.moments.append(
            Moment(
                at=time.time(),
                published=service["published"],
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chronicle(
    network: PrivateNetwork, visitor: Visitor, shared_cluster: LabCluster
) -> Chronicle:
    """Watch and ask for as long as a period lasts, and until its two changes have been seen."""
    cluster, address = shared_cluster, shared_cluster.address
    await mend(cluster)
    logs, chronicle, over = LogWatch(cluster), Chronicle(), asyncio.Event()
    period_s = SRV_ROUNDS_PER_RUN * network.size.interval_s
    async with Visitor(network, "keeping") as other:
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


@pytest.mark.timeout(600)  # the first test waits for the period
def test_a_period_has_a_rotation_and_a_turn(
    chronicle: Chronicle, record_property: Callable[[str, object], None]
) -> None:
    for name, visits in (("refetching", chronicle.refetching), ("keeping", chronicle.keeping)):
        figures = chronicle.figures(visits)
        record_property(name, figures)
        print(f"{name}: {figures}")  # noqa: T201 - `pytest -rP` shows it
    spans = ", ".join(f"{end - start:.1f}" for start, end in chronicle.disturbances)
    print(f"re-publications took {spans} s")  # noqa: T201

    assert chronicle.has_both_changes
    assert chronicle.disturbances


@pytest.mark.parametrize("who", ["refetching", "keeping"])
def test_no_request_after_the_republication_is_lost(chronicle: Chronicle, who: str) -> None:
    visits: list[Visit] = getattr(chronicle, who)
    undisturbed = [visit for visit in visits if not chronicle.is_disturbed(visit)]

    assert len(undisturbed) >= (1 - _MAX_DISTURBED) * len(visits)
    assert [visit for visit in undisturbed if not visit.ok] == []


def test_no_request_with_a_descriptor_fetched_after_the_republication_is_slow(
    chronicle: Chronicle,
) -> None:
    undisturbed = [visit for visit in chronicle.refetching if not chronicle.is_disturbed(visit)]

    assert max(visit.seconds for visit in undisturbed) < _MAX_SECONDS


def test_an_old_descriptor_costs_a_visitor_at_most_one_request_at_each_change(
    chronicle: Chronicle,
) -> None:
    """All points of a shared identity end at a rotation; who still has them may wait for long."""
    spoilt = [v for v in chronicle.keeping if not v.ok or v.seconds >= _MAX_SECONDS]

    assert len(spoilt) <= _NUM_CHANGES, [(visit.seconds, visit.error) for visit in spoilt]


def test_both_descriptors_of_every_slot_and_period_reach_every_hsdir(chronicle: Chronicle) -> None:
    wanted, held = set(), set()
    for moment in chronicle.moments:
        for descriptor in moment.descriptors:
            key = descriptor["slot"], descriptor["period"]
            wanted.add(key)
            if {hsdir["state"] for hsdir in descriptor["hsdirs"]} == {"accepted"}:
                held.add(key)

    assert {slot for slot, _ in wanted} == {"first", "second"}
    assert held == wanted


def test_every_revision_is_above_the_one_before(chronicle: Chronicle) -> None:
    said: defaultdict[int, list[int]] = defaultdict(list)
    for moment in chronicle.moments:
        for descriptor in moment.descriptors:
            if descriptor["revision"] is not None:
                said[descriptor["period"]].append(descriptor["revision"])
    given_out: defaultdict[BlindedKey, list[int]] = defaultdict(list)
    for visit, key, revision in chronicle.used:
        if not chronicle.is_disturbed(visit):  # else HSDirs differ, and any of them is asked
            given_out[key].append(revision)

    for revisions in (*said.values(), *given_out.values()):
        assert revisions == sorted(revisions)
    assert any(len(set(revisions)) > 1 for revisions in said.values())


def test_nodes_and_their_tors_have_nothing_to_complain_of(chronicle: Chronicle) -> None:
    assert chronicle.findings == []  # `Could not get valid INTRO2 keys` would be among them
