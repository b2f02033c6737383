from __future__ import annotations

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState, Member, Policy
from tests.shared.builders import ADA, FOUNDED


def test_a_fresh_state_is_not_founded() -> None:
    assert not ClusterState().is_seeded
    assert FOUNDED.is_seeded


@pytest.mark.parametrize("weight", [0, -1])
def test_a_member_weighs_at_least_one(weight: int) -> None:
    with pytest.raises(ValueError, match=f"node ada: weight must be at least 1, not {weight}"):
        Member(node=ADA, address="127.0.0.1:1", weight=weight)


@pytest.mark.parametrize("number", [1, 20])
def test_a_policy_shows_one_to_twenty_points(number: int) -> None:
    assert Policy(max_intro_points=number).max_intro_points == number


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"max_intro_points": 0}, "must be 1..20, not 0"),
        ({"max_intro_points": 21}, "must be 1..20, not 21"),
        ({"refresh_min_ms": 0}, "refresh_min_ms must be positive"),
        ({"refresh_min_ms": 10, "refresh_max_ms": 9}, "not above refresh_max_ms"),
        ({"withdraw_after_ms": 0}, "must be positive"),
        ({"upload_burst": 0}, "must be positive"),
        ({"upload_every_ms": 0}, "must be positive"),
        ({"settle_ms": -1}, "settle_ms must not be negative"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(setting: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Policy(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_shuffle_seed_is_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="shuffle_seed must be 32 bytes"):
        Policy(shuffle_seed=bytes(length))


@pytest.mark.parametrize("name", ["a", "node-7", "0", "a" * 63])
def test_a_node_name_is_a_dns_label(name: str) -> None:
    assert str(NodeId(name)) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "ä", "a\n"])
def test_anything_else_is_no_node_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no node name"):
        NodeId(name)
