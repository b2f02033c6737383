"""A cluster.toml that differs from what was agreed on is named, key by key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.agent.drift import differences
from rbcluster.core.apply import apply
from rbcluster.core.commands import SeedCluster
from rbcluster.core.state import ClusterState, Member, Policy, Presence, Role, Wish
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from tests.unit.agent.world import ADA, BOB, CYD, SITE

SEED = SeedCluster(
    name="world",
    members=(Member(node=ADA, address="ada:1"), Member(node=BOB, address="bob:1")),
    services={SITE: "site"},
    policy=Policy(),
)
STATE, _ = apply(ClusterState(), SEED)
BLOG = OnionAddress(IdentityKeypair.from_seed(bytes(32)).public)


def test_file_that_founded_the_cluster_differs_in_nothing() -> None:
    assert differences(SEED, STATE) == ()


def test_nothing_differs_before_the_cluster_is_founded() -> None:
    assert differences(SEED, ClusterState()) == ()


def test_seed_of_the_shuffle_and_presence_are_no_difference() -> None:
    withdrawn = replace(STATE.members[ADA], presence=Presence.WITHDRAWN)
    state = replace(
        STATE,
        members={**STATE.members, ADA: withdrawn},
        policy=replace(STATE.policy, shuffle_seed=bytes([1]) * 32),
    )
    assert differences(SEED, state) == ()


@pytest.mark.parametrize(
    "members",
    [
        SEED.members[:1],
        (replace(SEED.members[0], role=Role.LEARNER, wish=Wish.LEARNER), SEED.members[1]),
        (replace(SEED.members[0], address="ada:2"), SEED.members[1]),
    ],
    ids=["added", "demoted", "readdressed"],
)
def test_what_commands_have_changed_since_is_no_difference(members: tuple[Member, ...]) -> None:
    assert differences(replace(SEED, members=members), STATE) == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(SEED, name="moon"), "cluster.name is moon, the cluster has world"),
        (
            replace(SEED, policy=Policy(settle_ms=5)),
            "publish.settle is 0.005, the cluster has 1.0",
        ),
        (
            replace(SEED, members=(replace(SEED.members[0], weight=2), SEED.members[1])),
            "node ada: weight is 2, the cluster has 1",
        ),
        (
            replace(SEED, members=(*SEED.members, Member(node=CYD, address="cyd:1"))),
            "node cyd is not in the cluster",
        ),
        (
            replace(SEED, backends=frozenset({(SITE, BLOG)})),
            f"backend {BLOG.label} of {SITE.label} is not in the cluster",
        ),
        (replace(SEED, services={**SEED.services, BLOG: "blog"}), f"service {BLOG} is not in"),
    ],
)
def test_each_difference_is_named(changed: SeedCluster, said: str) -> None:
    (found,) = differences(changed, STATE)
    assert said in found
