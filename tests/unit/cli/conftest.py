"""Status documents: a healthy cluster of three, and what can befall it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from rbcluster.agent.status_document import (
    DescriptorStatus,
    HsDirState,
    HsDirStatus,
    NodeState,
    NodeStatus,
    StatusDocument,
)

NOW = datetime(2026, 2, 6, 14, 30, tzinfo=UTC)
ADDRESS = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"


def node(name: str, state: NodeState, last_contact_s: float | None = 0.4) -> NodeStatus:
    return {
        "name": name,
        "address": f"{name}.example.org:7300",
        "role": "voter",
        "state": state,
        "drained": False,
        "visitors": 0,
        "intro_points": 3,
        "on_show": 3,
        "last_contact_seconds": last_contact_s,
        "can_publish": True,
        "faults": [],
        "tor": {"connected": True, "version": "0.4.9.11", "bootstrapped": 100},
        "clock_offset_seconds": 0.012,
        "version": "0.1.0",
    }


def hsdir(number: int, state: HsDirState = "accepted", detail: str = "") -> HsDirStatus:
    fingerprint = hashlib.sha1(bytes([number]), usedforsecurity=False).hexdigest().upper()
    return {"fingerprint": fingerprint, "state": state, "detail": detail}


def make_healthy_document() -> StatusDocument:
    first: DescriptorStatus = {
        "slot": "first",
        "period": 20489,
        "revision": 1_713_204_511,
        "intro_points": 9,
        "published_at": "2026-02-06T14:02:00+00:00",
        "next_refresh_at": "2026-02-06T15:27:00+00:00",
        "next": "renewed at 15:27",
        "hsdirs": [hsdir(number) for number in range(8)],
    }
    second: DescriptorStatus = {
        **first,
        "slot": "second",
        "period": 20490,
        "revision": 91_204_511,
        "hsdirs": [hsdir(number) for number in range(8, 16)],
    }
    return {
        "cluster": {
            "name": "example",
            "leader": "b",
            "term": 12,
            "commit_index": 4711,
            "last_applied": 4711,
            "voters": ["a", "b", "c"],
            "quorum": 2,
            "has_quorum": True,
            "failures_tolerated": 1,
            "maintenance_until": None,
            "state_digest": "5f" * 32,
        },
        "self": "a",
        "health": "healthy",
        "problems": [],
        "nodes": [node("a", "follower", 0), node("b", "leader"), node("c", "follower")],
        "notes": [],
        "services": [
            {
                "name": "web",
                "address": ADDRESS,
                "pool": 9,
                "published": True,
                "backends": [],
                "descriptors": [first, second],
            }
        ],
        "turned_away": {},
    }


@pytest.fixture(name="degraded")
def make_degraded() -> StatusDocument:
    """One node gone, one that can't publish, one upload refused."""
    document = make_healthy_document()
    document["health"] = "degraded"
    document["cluster"]["failures_tolerated"] = 0
    document["problems"] = [
        "node c has been silent for 95 s and was withdrawn: start rbcluster on it",
        "node a can't publish: tor's control port does not answer: systemctl status tor",
    ]
    a, _, c = document["nodes"]
    a["can_publish"] = False
    a["faults"] = ["tor's control port does not answer", "tor has no consensus yet"]
    a["intro_points"] = a["on_show"] = 0
    c["state"], c["last_contact_seconds"], c["on_show"] = "withdrawn", 95.0, 0
    c["can_publish"] = None
    (web,) = document["services"]
    web["published"], web["pool"] = False, 3
    first, second = web["descriptors"]
    first["intro_points"] = 3
    first["hsdirs"][2] = hsdir(2, "pending")
    first["hsdirs"][5] = hsdir(5, "failed", "REJECTED: the HSDir holds a higher revision")
    first["hsdirs"][6] = hsdir(6, "failed", "no answer in 30 s")
    first["next"] = "the same revision again in 4 s"
    second["revision"] = second["published_at"] = second["next_refresh_at"] = None
    second["intro_points"], second["hsdirs"] = 0, []
    second["next"] = "waits for the upload budget, 7 s"
    return document


@pytest.fixture(name="no_leader")
def make_no_leader() -> StatusDocument:
    """Two of three voters gone."""
    document = make_healthy_document()
    document["health"] = "no-leader"
    cluster = document["cluster"]
    cluster["leader"], cluster["has_quorum"], cluster["failures_tolerated"] = None, False, 0
    document["problems"] = ["no quorum: 1 of 3 voters answers, 2 are needed: start b or c"]
    document["nodes"] = [
        node("a", "candidate", 0),
        node("b", "unreachable", 3_723.0),
        node("c", "unreachable", None),
    ]
    return document


@pytest.fixture(name="healthy")
def make_healthy() -> StatusDocument:
    return make_healthy_document()


@pytest.fixture
def peer() -> NodeStatus:
    """A follower that is well."""
    return node("peer", "follower")


@pytest.fixture
def now() -> datetime:
    return NOW
