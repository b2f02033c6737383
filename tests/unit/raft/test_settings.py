from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.raft.profile import LAN, PROFILES, RaftProfile
from rbcluster.raft.settings import Founding, RaftSettings
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


def test_the_voters_are_those_it_was_told_of_unless_the_log_says_so() -> None:
    assert SETTINGS.static_voters == {A, B}
    assert replace(SETTINGS, learner=True).static_voters == {B}
    founding = Founding(voters=frozenset({A, B}), founder=A)
    assert replace(SETTINGS, founding=founding).static_voters == set()
    assert replace(SETTINGS, learners={L: ("::1", 3)}).told == {B: ("::1", 2), L: ("::1", 3)}


def test_a_new_storage_is_told_apart_by_what_is_drawn() -> None:
    assert SETTINGS.storage.new_owner() != SETTINGS.storage.new_owner()
    drawn = replace(SETTINGS, draw=lambda length: bytes([7]) * length).storage.new_owner()
    assert drawn.incarnation == Incarnation(bytes([7]) * 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"peers": {A: ("::1", 1)}},
        {"learners": {B: ("::1", 3)}},
        {"learners": {A: ("::1", 3)}},
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
