from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.plan import (
    WantedDescriptor,
    derive_slot_rings,
    merge_traits,
    plan,
    ring_in_force,
)
from rbcluster.core.state import ClusterState, Policy, Presence
from rbcluster.errors import VerificationError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.hashring import HashRing, slot_times
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import IdentityKey, RelayEd25519Id, SharedRandomValue
from rbcluster.hs.time_period import DescriptorSlot, HsTimes
from tests.shared.builders import (
    ADA,
    BLOG,
    BOB,
    CYD,
    HSDIRS,
    IN_OFFICE,
    SHOP,
    after,
    drain,
    point,
    report,
    set_presence,
)


def view_at(hour: int, num_hsdirs: int = 30) -> ConsensusView:
    """The public network's consensus of some day, at an hour."""
    valid_after = datetime(2024, 6, 1, hour, tzinfo=UTC)
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=valid_after + timedelta(hours=1),
        valid_until=valid_after + timedelta(hours=3),
        times=HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1)),
        srv_current=SharedRandomValue(bytes([1]) * 32),
        srv_previous=SharedRandomValue(bytes([2]) * 32),
        hsdirs=tuple(
            HsDir(Fingerprint(bytes([number]) * 20), RelayEd25519Id(bytes([number]) * 32))
            for number in range(num_hsdirs)
        ),
    )


VIEW = view_at(3)
RINGS = derive_slot_rings(VIEW)
POOLED = after(
    [report(ADA, point(1), point(2)), report(BOB, point(3)), report(CYD, point(4))], IN_OFFICE
)


def wanted_in(state: ClusterState, view: ConsensusView = VIEW) -> WantedDescriptor:
    """The first descriptor of the shop."""
    return next(wanted for wanted in plan(state, derive_slot_rings(view)) if wanted.service == SHOP)


def held_by(wanted: WantedDescriptor) -> set[tuple[str, int]]:
    return {(p.node.name, int.from_bytes(p.point.auth_key.raw)) for p in wanted.points}


def test_every_service_wants_both_descriptors_by_address_and_slot() -> None:
    assert [(w.service, w.slot_time.slot) for w in plan(POOLED, RINGS)] == [
        (service, slot)
        for service in sorted([SHOP, BLOG])
        for slot in (DescriptorSlot.FIRST, DescriptorSlot.SECOND)
    ]


def test_the_hsdirs_are_those_of_the_blinded_key_of_the_slots_period() -> None:
    for wanted in plan(POOLED, RINGS):
        slot_time = slot_times(VIEW)[wanted.slot_time.slot]
        blinded = derive_blinded_key(wanted.service.identity, slot_time.period)
        assert wanted.slot_time == slot_time
        assert wanted.hsdirs == HashRing.at(VIEW, slot_time).responsible(blinded)
        assert wanted.key == (wanted.service, slot_time.period.number)


def test_all_points_of_all_live_nodes_are_wanted() -> None:
    assert held_by(wanted_in(POOLED)) == {("ada", 1), ("ada", 2), ("bob", 3), ("cyd", 4)}


def test_what_a_withdrawn_node_reports_does_not_count_until_it_is_back() -> None:
    gone = after([set_presence(ADA, Presence.WITHDRAWN), report(ADA, point(1), point(2))], POOLED)
    assert held_by(wanted_in(gone)) == {("bob", 3), ("cyd", 4)}
    back = after([set_presence(ADA, Presence.LIVE)], gone)
    assert wanted_in(back) == wanted_in(POOLED)


def test_what_a_drained_node_holds_is_not_wanted_until_it_is_let_back() -> None:
    gone = after([drain(ADA)], POOLED)
    assert held_by(wanted_in(gone)) == {("bob", 3), ("cyd", 4)}
    assert wanted_in(after([drain(ADA, drained=False)], gone)) == wanted_in(POOLED)


def test_a_service_nobody_holds_points_for_wants_an_empty_descriptor() -> None:
    (blog, _) = (wanted for wanted in plan(POOLED, RINGS) if wanted.service == BLOG)
    assert blog.points == ()
    assert blog.traits == ServiceTraits()


def test_the_policy_bounds_the_points() -> None:
    state = replace(POOLED, policy=Policy(max_intro_points=3))
    assert held_by(wanted_in(state)) == {("ada", 1), ("bob", 3), ("cyd", 4)}


def test_the_weights_are_the_members() -> None:
    heavy = replace(POOLED.members[ADA], weight=5)
    state = replace(
        POOLED,
        policy=Policy(max_intro_points=1),
        members={**POOLED.members, ADA: heavy},
    )
    assert held_by(wanted_in(state)) == {("ada", 1)}


def test_an_auth_key_that_two_nodes_report_is_shown_once() -> None:
    state = after([report(BOB, point(9, key=1), point(3))], POOLED)
    assert held_by(wanted_in(state)) == {("ada", 1), ("ada", 2), ("bob", 3), ("cyd", 4)}


# --- order


def test_the_order_of_show_does_not_follow_the_nodes() -> None:
    pooled = after([report(ADA, *map(point, range(10))), report(BOB, point(20))], IN_OFFICE)
    shown = [int.from_bytes(key.raw) for key in wanted_in(pooled).auth_keys]
    assert sorted(shown) != shown


def test_the_order_of_show_stays_when_a_point_goes() -> None:
    before = wanted_in(POOLED).auth_keys
    fewer = wanted_in(after([report(BOB)], POOLED)).auth_keys
    assert fewer == tuple(key for key in before if key != point(3).auth_key)


def test_the_order_of_show_is_that_of_both_slots_and_of_the_next_period() -> None:
    first, second = (w for w in plan(POOLED, RINGS) if w.service == SHOP)
    assert first.points == second.points == wanted_in(POOLED, view_at(13)).points


def test_another_seed_gives_another_order() -> None:
    pooled = after([report(ADA, *map(point, range(10)))], IN_OFFICE)
    other = replace(pooled, policy=Policy(shuffle_seed=b"\x01" * 32))
    assert wanted_in(other).auth_keys != wanted_in(pooled).auth_keys
    assert held_by(wanted_in(other)) == held_by(wanted_in(pooled))


# --- digest


def test_the_digest_covers_all_that_is_shown_and_where() -> None:
    wanted = wanted_in(POOLED)
    changed_key = replace(point(4), enc_key=point(5).enc_key)
    traits = ServiceTraits(single_onion_service=True)
    others = [
        wanted_in(after([report(CYD, changed_key)], POOLED)),
        wanted_in(after([report(CYD)], POOLED)),
        wanted_in(replace(POOLED, policy=Policy(shuffle_seed=b"\x05" * 32))),
        wanted_in(
            after(
                [
                    replace(report(node, *POOLED.pool[SHOP, node].points), traits=traits)
                    for node in (ADA, BOB, CYD)
                ],
                POOLED,
            )
        ),
        plan(POOLED, RINGS)[1 if BLOG > SHOP else 3],  # the other slot
    ]
    assert len({wanted.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_the_digest_can_be_asked_for_other_hsdirs() -> None:
    wanted = wanted_in(POOLED)
    assert wanted.digest_for(wanted.hsdirs) == wanted.digest
    assert wanted.digest_for(HSDIRS) != wanted.digest


def test_equal_inputs_give_equal_plans_whatever_order_the_maps_have() -> None:
    backwards = replace(
        POOLED,
        members=dict(reversed([*POOLED.members.items()])),
        services=dict(reversed([*POOLED.services.items()])),
        pool=dict(reversed([*POOLED.pool.items()])),
    )
    assert plan(backwards, RINGS) == plan(POOLED, RINGS)


def test_an_address_that_is_no_point_of_the_curve_raises() -> None:
    broken = OnionAddress(IdentityKey(b"\xff" * 32))
    with pytest.raises(VerificationError):
        plan(replace(POOLED, services={broken: "broken"}), RINGS)


# --- traits


TOR = ServiceTraits(flow_control=("1-2", 31))


def test_what_all_nodes_say_is_said() -> None:
    for traits in (TOR, ServiceTraits(), ServiceTraits(single_onion_service=True)):
        assert merge_traits([traits] * 3) == traits


@pytest.mark.parametrize("other", [None, ("1-2", 32), ("1-3", 31)])
def test_flow_control_is_dropped_unless_all_agree(other: tuple[str, int] | None) -> None:
    assert merge_traits([TOR, replace(TOR, flow_control=other)]).flow_control is None


@pytest.mark.parametrize(
    ("formats", "common"),
    [
        ([(2,), (2,)], (2,)),
        ([(2, 3), (3, 2)], (2, 3)),
        ([(1, 2), (2, 3)], (2,)),
        ([(1,), (3,)], (2,)),
        ([(), ()], (2,)),
    ],
)
def test_only_common_create2_formats_are_offered_and_never_none(
    formats: list[tuple[int, ...]], common: tuple[int, ...]
) -> None:
    merged = merge_traits([ServiceTraits(create2_formats=each) for each in formats])
    assert merged.create2_formats == common


def test_any_nodes_demand_for_authentication_is_kept() -> None:
    demanding = ServiceTraits(intro_auth_required=("ed25519",))
    assert merge_traits([ServiceTraits(), demanding]).intro_auth_required == ("ed25519",)


def test_one_node_behind_three_hops_makes_it_no_single_onion_service() -> None:
    single = ServiceTraits(single_onion_service=True)
    assert not merge_traits([single, ServiceTraits(), single]).single_onion_service


def test_only_nodes_on_show_have_a_say() -> None:
    state = after(
        [
            replace(report(ADA, point(1)), traits=TOR),
            replace(report(BOB, point(1)), traits=ServiceTraits()),
        ],
        IN_OFFICE,
    )
    assert held_by(wanted_in(state)) == {("ada", 1)}
    assert wanted_in(state).traits == TOR


_TRAITS = st.builds(
    ServiceTraits,
    create2_formats=st.lists(st.integers(0, 4), max_size=3, unique=True).map(tuple),
    intro_auth_required=st.sampled_from([(), ("ed25519",), ("ed25519", "other")]),
    single_onion_service=st.booleans(),
    flow_control=st.sampled_from([None, ("1-2", 31), ("1", 100)]),
)


@given(st.lists(_TRAITS, max_size=4), st.data())
def test_the_order_of_nodes_makes_no_difference_to_traits(
    reported: list[ServiceTraits], data: st.DataObject
) -> None:
    assert merge_traits(data.draw(st.permutations(reported))) == merge_traits(reported)


@pytest.mark.parametrize(
    ("hour", "slot"),
    [
        (11, DescriptorSlot.FIRST),
        (12, DescriptorSlot.SECOND),
        (23, DescriptorSlot.SECOND),
        (0, DescriptorSlot.FIRST),
    ],
)
def test_clients_see_the_second_descriptor_from_the_turn_of_the_period_on(
    hour: int, slot: DescriptorSlot
) -> None:
    view = view_at(hour)
    seen = ring_in_force(derive_slot_rings(view), view)
    assert seen is not None
    assert seen.slot_time.slot is slot
    assert ring_in_force((), view) is None
