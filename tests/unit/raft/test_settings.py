from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.raft.profile import LAN, PROFILES, RaftProfile
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.tls import TlsFiles

A, B, L = NodeId("a"), NodeId("b"), NodeId("l")
FILES = TlsFiles(ca=Path("ca"), cert=Path("cert"), key=Path("key"))
SETTINGS = RaftSettings(
    cluster=ClusterId(bytes(16)),
    node=A,
    listen=("::1", 1),
    peers={B: ("::1", 2)},
    data_dir=Path(),
    tls=FILES,
)


def test_exactly_one_of_a_pair_dials() -> None:
    other = replace(SETTINGS, node=B, peers={A: ("::1", 1)})
    assert SETTINGS.dials(B) is not other.dials(A)


def test_a_learner_dials_every_voter() -> None:
    learner = replace(SETTINGS, node=L, learner=True)
    assert learner.dials(A)
    assert learner.dials(B)


@pytest.mark.parametrize(
    "changes",
    [
        {"peers": {A: ("::1", 1)}},
        {"learners": frozenset({B})},
        {"learners": frozenset({A})},
        {"learner": True, "peers": {}},
    ],
)
def test_contradictory_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"listed|no voter"):
        replace(SETTINGS, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"election_min_s": 0.15},
        {"election_max_s": 0.3},
        {"leader_fallback_s": 0.05},
        {"leader_fallback_s": 0.3},
        {"forget_leader_s": 0.5},
        {"link_timeout_s": 2.0},
        {"redial_min_s": 0.0},
    ],
)
def test_contradictory_periods_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(LAN, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_in_every_profile_a_stranger_has_at_most_five_seconds(profile: RaftProfile) -> None:
    assert profile.greet_timeout_s <= 5


def test_a_leader_that_is_cut_off_in_a_lan_stops_within_a_fifth_of_a_second() -> None:
    assert LAN.leader_fallback_s <= 0.2
