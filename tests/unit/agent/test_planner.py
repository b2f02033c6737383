"""`plan`, remembered: the same answer as afresh, computed only when something changed."""

from __future__ import annotations

from rbcluster.agent.planner import Planner
from rbcluster.core.commands import ReportIntroPoints, SeedCluster
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.core.plan import derive_slot_rings, plan
from rbcluster.core.state import ClusterState, Member, Policy
from rbcluster.hs.intro_point import ServiceTraits
from tests.shared.builders import after
from tests.unit.agent.world import ADA, BOB, SITE, START, consensus, point


def report(node: NodeId, number: int) -> ReportIntroPoints:
    return ReportIntroPoints(
        node=node,
        service=SITE,
        origin=SITE,
        points=(point(number),),
        traits=ServiceTraits(),
        descriptor=b"signed",
        reported_at=UnixMs(0),
    )


def founded() -> ClusterState:
    members = tuple(Member(node=node, address=f"{node}:1") for node in (ADA, BOB))
    seed = SeedCluster(name="x", members=members, services={SITE: "site"}, policy=Policy())
    return after([seed, report(ADA, 1)])


def test_nothing_is_wanted_before_there_is_a_consensus() -> None:
    assert Planner().plan(founded(), ()) == ()


def test_answer_is_that_of_plan() -> None:
    state, rings = founded(), derive_slot_rings(consensus())
    assert Planner().plan(state, rings) == plan(state, rings)


def test_the_same_question_is_not_computed_twice() -> None:
    planner, state, rings = Planner(), founded(), derive_slot_rings(consensus())
    assert planner.plan(state, rings) is planner.plan(state, rings)


def test_changed_state_changes_the_answer() -> None:
    planner, state, rings = Planner(), founded(), derive_slot_rings(consensus())
    planner.plan(state, rings)
    changed = after([report(BOB, 2)], state)
    assert planner.plan(changed, rings) == plan(changed, rings)
    assert len(planner.plan(changed, rings)[0].points) == 2


def test_changed_consensus_changes_the_answer_though_the_state_is_the_same() -> None:
    planner, state, rings = Planner(), founded(), derive_slot_rings(consensus())
    before = planner.plan(state, rings)
    smaller = derive_slot_rings(consensus(num_hsdirs=9))
    assert planner.plan(state, smaller) == plan(state, smaller) != before


def test_lost_consensus_is_an_answer_and_the_old_one_comes_back() -> None:
    planner, state, rings = Planner(), founded(), derive_slot_rings(consensus())
    before = planner.plan(state, rings)
    assert planner.plan(state, ()) == ()
    assert planner.plan(state, rings) == before


def test_turn_of_the_hour_keeps_both_periods_in_order() -> None:
    wanted = Planner().plan(founded(), derive_slot_rings(consensus(START)))
    assert [w.slot_time.slot.value for w in wanted] == ["first", "second"]
