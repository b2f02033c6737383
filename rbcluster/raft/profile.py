"""Raft's periods and time-outs, as one value for each kind of network.

====== ============================== ========================== =================================
name   for nodes                      that answer each other in  a leader's sudden end costs
====== ============================== ========================== =================================
lan    in one place                   20 ms                      0.3 to 1 s without a leader
wan    in several, also by WireGuard  300 ms                     1.5 to 5 s
onion  behind onion services          3 s                        10 to 40 s, and links to be built
====== ============================== ========================== =================================

Not here: limits on sizes (`limits.py`). Raft paper 5.6: broadcast time << election time-out << time
between failures.

A leader steps down before its followers may elect another (`leader_fallback_s` is below
`election_min_s`), so at most one node acts as leader at a time, as far as clocks run alike. That is
a courtesy; what keeps two from publishing is the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftProfile:
    """How patient the nodes are with each other; equal on all of them.

    :raises ValueError: if the periods contradict each other.
    """

    append_s: float  # a leader's heartbeat (append_entries)
    election_min_s: float  # silence of the leader after which the first follower stands
    election_max_s: float  # ... and the last one
    leader_fallback_s: float  # a leader unheard by a majority for this long steps down
    forget_leader_s: float  # a leader not heard for this long is a leader no longer
    ping_s: float  # a link carries at least one frame in this time
    link_timeout_s: float  # a link on which nothing arrives for this long is dead
    connect_timeout_s: float  # dialling: TCP (through a proxy), TLS and greeting together
    greet_timeout_s: float  # being dialled: TLS and greeting together
    redial_min_s: float  # first pause before dialling again; it doubles
    redial_max_s: float
    compact_entries: int = 2000  # length of the log that calls for a snapshot
    compact_bytes: int = 16 * 1024 * 1024  # ... or size of the journal file
    compact_s: float = 3600.0  # ... or time since the last one, if anything was applied

    def __post_init__(self) -> None:
        if not 0 < 3 * self.append_s < self.election_min_s < self.election_max_s:
            raise ValueError("election_min_s must exceed 3 append_s, election_max_s must exceed it")
        if not self.append_s < self.leader_fallback_s < self.election_min_s:
            raise ValueError("leader_fallback_s must lie between append_s and election_min_s")
        if not self.election_max_s <= self.forget_leader_s:
            raise ValueError("forget_leader_s must not be below election_max_s")
        if not 0 < 2 * self.ping_s < self.link_timeout_s:
            raise ValueError("link_timeout_s must exceed 2 ping_s")
        if not 0 < self.redial_min_s <= self.redial_max_s:
            raise ValueError("redial_max_s must not be below redial_min_s")


LAN = RaftProfile(
    append_s=0.05,
    election_min_s=0.3,
    election_max_s=0.6,
    leader_fallback_s=0.2,
    forget_leader_s=1.0,
    ping_s=1.0,
    link_timeout_s=4.0,
    connect_timeout_s=4.0,
    greet_timeout_s=4.0,
    redial_min_s=0.05,
    redial_max_s=0.5,
)

WAN = RaftProfile(
    append_s=0.25,
    election_min_s=1.5,
    election_max_s=3.0,
    leader_fallback_s=1.0,
    forget_leader_s=4.0,
    ping_s=1.5,
    link_timeout_s=5.0,
    connect_timeout_s=5.0,
    greet_timeout_s=5.0,
    redial_min_s=0.2,
    redial_max_s=4.0,
)

ONION = RaftProfile(
    append_s=1.0,
    election_min_s=10.0,  # a circuit that breaks is rebuilt within some seconds, mostly
    election_max_s=20.0,
    leader_fallback_s=8.0,  # before any follower stands, as in the others
    forget_leader_s=25.0,
    ping_s=5.0,
    link_timeout_s=20.0,
    connect_timeout_s=60.0,  # descriptor, introduction and rendezvous, each over new circuits
    greet_timeout_s=5.0,  # two round trips once the rendezvous stands
    redial_min_s=1.0,
    redial_max_s=15.0,
)

PROFILES: Mapping[str, RaftProfile] = MappingProxyType({"lan": LAN, "wan": WAN, "onion": ONION})
"""The profiles by the names that cluster.toml gives them."""
