"""What a node knows of the Raft cluster right now, as one value.

It may be out of date the moment it is read: more than one node may believe it leads. Whoever acts
on it must commit something first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from rbcluster.core.ids import Incarnation, LogIndex, NodeId, Term


class Role(Enum):
    """A node's part in Raft."""

    LEADER = "leader"
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEARNER = "learner"  # follows without a vote


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftView:
    """A snapshot of Raft's live state on one node; never an input of the state machine."""

    role: Role
    leader: NodeId | None  # None also when it has been silent for `forget_leader_s`
    term: Term
    commit_index: LogIndex
    last_applied: LogIndex
    voters: tuple[NodeId, ...]  # sorted, by the last configuration in this node's log
    connected: frozenset[NodeId]  # peers with an authenticated link, learners too
    has_quorum: bool  # a leader: heard by a majority; others: hear a leader
    set_back: frozenset[NodeId] = frozenset()  # connected, and refused: see `set_back.py`
    storages: Mapping[NodeId, Incarnation] = field(default_factory=dict)  # own, and connected ones
