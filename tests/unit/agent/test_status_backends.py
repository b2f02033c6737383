"""What is said of onion services beside the cluster."""

from __future__ import annotations

from dataclasses import replace

from rbcluster.agent.status import StatusInputs, status_document
from rbcluster.core.commands import ReportBackend, TakeOffice
from rbcluster.core.ids import Term, UnixMs
from rbcluster.core.state import ClusterState
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor import Standing
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod
from tests.shared.builders import after
from tests.unit.agent.status_world import NOW_MS, SEED, problems, published, told_by
from tests.unit.agent.world import ADA, SITE, point

BACKEND = OnionAddress(IdentityKeypair.from_seed(bytes([4]) * 32).public)
BACKED = replace(SEED, backends=frozenset({(SITE, BACKEND)}))
STANDING = Standing(period=TimePeriod(number=20_000, length_min=1440), revision=RevisionCounter(7))


def found(*numbers: int) -> ReportBackend:
    return ReportBackend(
        service=SITE,
        backend=BACKEND,
        points=tuple(map(point, numbers)),
        traits=ServiceTraits(),
        standing=STANDING,
        at=UnixMs(NOW_MS),
        office_node=ADA,
        office_term=Term(1),
    )


def told(*reports: ReportBackend) -> StatusInputs:
    office = TakeOffice(node=ADA, term=Term(1))
    state: ClusterState = after([BACKED, office, *reports])
    return replace(
        told_by(published(state) if reports[-1:] and reports[-1].points else state), seed=BACKED
    )


def test_backend_that_was_found_is_told_with_its_points_and_nodes_need_hold_none() -> None:
    document = status_document(told(found(1, 2)))
    assert document["health"] == "healthy", document["problems"]
    (service,) = document["services"]
    assert service["pool"] == 2
    (backend,) = service["backends"]
    assert (backend["address"], backend["intro_points"]) == (str(BACKEND), 2)
    assert backend["last_rise_at"] is not None


def test_backend_that_was_never_found_is_a_problem() -> None:
    said = problems(told())
    assert f"site: backend {BACKEND} was not found: is its tor running?" in said
    assert not [problem for problem in said if "has no introduction points for" in problem]


def test_backend_that_is_stale_is_a_problem_with_the_time_of_its_last_word() -> None:
    (problem,) = [p for p in problems(told(found(1), found())) if "backend" in p]
    assert problem.startswith(f"site: backend {BACKEND} published nothing new since 20")
