"""Onion services beside the cluster: what is taken of them, and that it is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.core.apply import apply
from rbcluster.core.backends import holder_of, is_stale
from rbcluster.core.commands import Applied, Command
from rbcluster.core.ids import UnixMs
from rbcluster.core.plan import derive_slot_rings, plan
from rbcluster.core.state import Backend, ClusterState
from rbcluster.hs.descriptor import Standing
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.revision import RevisionCounter
from tests.shared.builders import (
    ADA,
    BACKEND,
    BLOG,
    BOB,
    FOREIGN,
    FOUNDED,
    IN_OFFICE,
    NOW,
    SEED,
    SHOP,
    after,
    period,
    point,
    refusal,
    report,
    report_backend,
)
from tests.unit.agent.world import consensus

KEY = SHOP, BACKEND
RINGS = derive_slot_rings(consensus())
HELD = after([report_backend(7, point(1), point(2))], IN_OFFICE)


def _shown(state: ClusterState) -> set[int]:
    """The relays on show for the shop, the same in both slots."""
    wanted = [w for w in plan(state, RINGS) if w.service == SHOP]
    first, second = ({int.from_bytes(p.point.relay.raw) for p in w.points} for w in wanted)
    assert first == second
    return first


def test_a_cluster_is_founded_with_its_backends_and_knows_nothing_of_them() -> None:
    assert FOUNDED.backends == {KEY: Backend()}
    assert _shown(FOUNDED) == set()


def test_points_of_a_backend_are_shown_beside_those_of_nodes() -> None:
    assert _shown(HELD) == {1, 2}
    assert _shown(after([report(BOB, point(3))], HELD)) == {1, 2, 3}
    holders = {placed.node for wanted in plan(HELD, RINGS) for placed in wanted.points}
    assert holders == {holder_of(BACKEND)}


def test_a_point_that_a_node_reports_too_is_shown_once() -> None:
    both = after([report(BOB, point(1))], HELD)
    assert _shown(both) == {1, 2}


def test_points_of_a_backend_do_not_answer_for_another_service() -> None:
    assert all(not w.points for w in plan(HELD, RINGS) if w.service == BLOG)


def test_a_newer_descriptor_replaces_the_last_and_is_dated() -> None:
    state = after([report_backend(8, point(3), at=NOW + 5)], HELD)
    assert state.backends[KEY] == Backend(
        points=(point(3),),
        traits=ServiceTraits(),
        standing=Standing(period=period(), revision=RevisionCounter(8)),
        risen_at=UnixMs(NOW + 5),
    )
    turned = after([report_backend(1, point(4), number=20_001)], state)
    assert turned.backends[KEY].points == (point(4),)


def test_a_stale_backend_is_taken_off_until_it_rises() -> None:
    stale = after([report_backend(7, at=NOW + 9)], HELD)
    assert _shown(stale) == set()
    assert stale.backends[KEY].risen_at == NOW
    assert apply(stale, report_backend(7, at=NOW + 10)) == (stale, Applied())
    assert _shown(after([report_backend(8, point(1))], stale)) == {1}


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (report_backend(8, node=BOB), "bob holds no office in term 1"),
        (report_backend(8, backend=FOREIGN), "that backend is not the service's"),
        (replace(report_backend(8), service=BLOG), "that backend is not the service's"),
        (report_backend(6, point(1)), "a newer descriptor of that backend was seen before"),
        (report_backend(9, number=19_999), "a newer descriptor of that backend was seen before"),
        (report_backend(7, point(3)), "only a newer descriptor lists points"),
        (report_backend(8, *map(point, range(21))), "more than 20 points"),
        (report_backend(8, point(1), point(2, key=1)), "one introduction point is named twice"),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused(command: Command, rule: str) -> None:
    assert refusal(HELD, command) == rule


@pytest.mark.parametrize(
    ("backends", "rule"),
    [
        ({(FOREIGN, BACKEND)}, "a backend names a service that there is not"),
        ({(SHOP, BLOG)}, "a service can't be a backend of the cluster"),
    ],
)
def test_a_seed_with_wrong_backends_founds_nothing(backends: set[object], rule: str) -> None:
    seed = replace(SEED, backends=frozenset(backends))  # type: ignore[arg-type]
    assert refusal(ClusterState(), seed) == rule


def test_a_backend_is_stale_when_its_revision_has_not_risen_for_so_long() -> None:
    backend, policy = HELD.backends[KEY], HELD.policy
    end = NOW + policy.stale_after_ms
    assert not is_stale(backend, policy, UnixMs(end - 1))
    assert is_stale(backend, policy, UnixMs(end))
    assert not is_stale(replace(backend, points=()), policy, UnixMs(end))
    assert not is_stale(Backend(), policy, UnixMs(end))


def test_a_weight_is_a_members_and_a_backend_counts_as_one() -> None:
    many = after(
        [report_backend(7, *map(point, range(1, 15))), report(ADA, *map(point, range(20, 40)))],
        IN_OFFICE,
    )
    assert len(_shown(many)) == 20
    assert len({n for n in _shown(many) if n < 20}) == 10
