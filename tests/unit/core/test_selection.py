from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.ids import NodeId
from rbcluster.core.selection import select_points
from rbcluster.hs.intro_point import IntroPoint
from tests.shared.builders import ADA, BOB, CYD, point

Candidates = dict[NodeId, tuple[IntroPoint, ...]]


def select(
    candidates: Candidates, limit: int = 20, weights: Mapping[NodeId, int] | None = None
) -> dict[NodeId, tuple[IntroPoint, ...]]:
    return dict(select_points(candidates, weights or dict.fromkeys(candidates, 1), limit))


def shares(selected: Mapping[NodeId, tuple[IntroPoint, ...]]) -> list[int]:
    return [len(points) for points in selected.values()]


def keys(selected: Mapping[NodeId, tuple[IntroPoint, ...]]) -> set[bytes]:
    return {shown.auth_key.raw for points in selected.values() for shown in points}


def offers(*relays_of_each: tuple[int, ...]) -> Candidates:
    """Nodes n0, n1, ... with points on these relays; each point has an auth key of its own."""
    return {
        NodeId(f"n{number}"): tuple(point(relay, key=100 * number + relay) for relay in relays)
        for number, relays in enumerate(relays_of_each)
    }


_WORLDS = st.lists(
    st.lists(st.integers(0, 5), max_size=4, unique=True).map(tuple), min_size=1, max_size=4
).map(lambda relays: offers(*relays))
_WEIGHTS = st.lists(st.integers(1, 3), min_size=4, max_size=4)
_LIMITS = st.integers(0, 8)


def weigh(candidates: Candidates, weights: list[int]) -> dict[NodeId, int]:
    return dict(zip(candidates, weights, strict=False))


# --- examples


def test_all_points_are_shown_where_they_fit() -> None:
    candidates = offers((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert select(candidates) == candidates


def test_without_candidates_nothing_is_selected() -> None:
    assert select({}) == {}
    assert select(offers(())) == offers(())


def test_nodes_that_share_all_their_relays_share_them_fairly() -> None:
    assert shares(select(offers((1, 2, 3, 4), (1, 2, 3, 4)))) == [2, 2]


def test_a_node_moves_aside_for_one_that_has_no_other_relay() -> None:
    # Ada's first choice is relay 1, and it is all that Bob has.
    candidates = {
        ADA: (point(1, key=1), point(2, key=2)),
        BOB: (point(1, key=3),),
    }
    assert select(candidates) == {ADA: (point(2, key=2),), BOB: (point(1, key=3),)}


def test_moving_aside_may_take_several_steps() -> None:
    candidates = {ADA: (point(1), point(2)), BOB: (point(2), point(3)), CYD: (point(1),)}
    assert shares(select(candidates)) == [1, 1, 1]


def test_a_node_with_two_points_on_one_relay_shows_one_of_them() -> None:
    assert select({ADA: (point(1, key=9), point(1, key=8))}) == {ADA: (point(1, key=8),)}


def test_a_short_descriptor_gives_every_node_a_point_before_any_gets_two() -> None:
    assert shares(select(offers((1, 2, 3), (4, 5, 6), (7, 8, 9)), limit=4)) == [2, 1, 1]
    assert shares(select(offers((1, 2, 3), (4, 5, 6), (7, 8, 9)), limit=2)) == [1, 1, 0]


def test_a_heavier_node_gets_more_and_nobody_gets_none_for_it() -> None:
    candidates = offers((1, 2, 3, 4), (5, 6, 7, 8))
    assert shares(select(candidates, 4, weigh(candidates, [1, 3]))) == [1, 3]
    assert shares(select(candidates, 2, weigh(candidates, [1, 3]))) == [1, 1]
    assert shares(select(candidates, 1, weigh(candidates, [1, 3]))) == [0, 1]


# --- properties


@given(_WORLDS, _WEIGHTS, _LIMITS)
def test_the_result_is_bounded_and_has_one_point_per_relay(
    candidates: Candidates, weights: list[int], limit: int
) -> None:
    selected = select(candidates, limit, weigh(candidates, weights))
    shown = [each for points in selected.values() for each in points]
    assert len(shown) <= limit
    assert len({each.relay for each in shown}) == len(shown)
    assert selected.keys() == candidates.keys()
    for node, points in selected.items():
        assert set(points) <= set(candidates[node])


@given(_WORLDS, _WEIGHTS, _LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_points_makes_no_difference(
    candidates: Candidates, weights: list[int], limit: int, rng: random.Random
) -> None:
    weight_of = weigh(candidates, weights)
    shuffled = {
        node: tuple(rng.sample(candidates[node], len(candidates[node])))
        for node in rng.sample([*candidates], len(candidates))
    }
    assert select(shuffled, limit, weight_of) == select(candidates, limit, weight_of)


def possible_shares(candidates: Candidates, limit: int) -> set[tuple[int, ...]]:
    """By brute force: give each relay to each node that offers it, or to nobody."""
    nodes = [*candidates]
    relays = {each.relay for points in candidates.values() for each in points}
    takers = [
        [None, *(n for n in nodes if any(each.relay == relay for each in candidates[n]))]
        for relay in sorted(relays)
    ]
    given_out = {tuple(choice.count(node) for node in nodes) for choice in product(*takers)}
    return {counts for counts in given_out if sum(counts) <= limit}


@given(_WORLDS, _LIMITS)
def test_the_smallest_share_is_as_large_as_can_be_then_the_next(
    candidates: Candidates, limit: int
) -> None:
    fairest = max(sorted(counts) for counts in possible_shares(candidates, limit))
    assert sorted(shares(select(candidates, limit))) == fairest


@given(_WORLDS, _WEIGHTS, _LIMITS)
def test_with_weights_too_the_total_is_the_largest_and_its_division_the_fairest(
    candidates: Candidates, weights: list[int], limit: int
) -> None:
    possible = possible_shares(candidates, limit)
    total = max(map(sum, possible))

    def unfairness(counts: tuple[int, ...]) -> Fraction:
        """The sum, over all points given out, of what its node held for its weight before."""
        return sum(
            (
                Fraction(count * (count - 1), 2 * weight)
                for count, weight in zip(counts, weights, strict=False)
            ),
            Fraction(0),
        )

    counts = tuple(shares(select(candidates, limit, weigh(candidates, weights))))
    assert sum(counts) == total
    assert unfairness(counts) == min(
        unfairness(others) for others in possible if sum(others) == total
    )


@given(_WORLDS, st.data())
def test_a_node_that_leaves_costs_no_other_node_a_point(
    candidates: Candidates, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from([*candidates]))
    before, after = select(candidates), select({**candidates, gone: ()})
    for node in candidates.keys() - {gone}:
        assert len(after[node]) >= len(before[node])


def test_disjoint_relays_make_a_departure_invisible_to_the_others() -> None:
    candidates = offers(*((3 * n, 3 * n + 1, 3 * n + 2) for n in range(10)))
    gone = NodeId("n4")
    before, after = select(candidates), select({**candidates, gone: ()})
    lost = keys(before) - keys(after)
    assert lost == {shown.auth_key.raw for shown in before[gone]}
