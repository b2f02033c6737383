"""A new cluster from what is left of another: one member votes, the others are let in again. Pure.

For when a majority of the voters is lost for good, or a state is brought back from a backup. All
that was agreed on stays, but for who votes; the revisions that were reserved, too, so what the new
cluster publishes is above all that the old one did, as far as this state knows of it.

Not here: where the state comes from (`raft/refounding.py`).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from rbcluster.core.ids import ClusterId, Incarnation, NodeId
from rbcluster.core.rules import find_member, require
from rbcluster.core.state import ClusterState, Member, Role, Wish


def refounded(
    state: ClusterState, *, cluster: ClusterId, node: NodeId, incarnation: Incarnation
) -> ClusterState:
    """Return the state with which one node begins the new cluster.

    :param incarnation: of the storage in which it does.
    :raises RuleBrokenError: if the state is of no cluster, or the node was none of its members.
    """
    require(state.is_seeded, "it holds no cluster: it was never let in")
    require(cluster != state.cluster_id, "a new cluster has an id of its own")
    find_member(state, node)
    members = {
        name: _founder(member, incarnation) if name == node else _to_be_let_in(member)
        for name, member in state.members.items()
    }
    return replace(
        state,
        cluster_id=cluster,
        members=MappingProxyType(members),
        transfer=None,
        invitations=MappingProxyType({}),  # who listened for them is gone
    )


def _founder(member: Member, incarnation: Incarnation) -> Member:
    return replace(member, role=Role.VOTER, wish=Wish.VOTER, incarnation=incarnation)


def _to_be_let_in(member: Member) -> Member:
    """Keep what it is to be: it gets its vote when it has come, clean, and caught up."""
    return replace(member, role=Role.LEARNER, incarnation=None)
