"""Backends: onion services beside the cluster, whose points the leader fetches and merges.

They run no rbcluster: nothing is known of them but what HSDirs serve, and HSDirs go on serving the
dead for hours. So a backend counts as long as its revision counter rises: tor raises it at least
every two hours. Who watches that is the office holder (`agent/backend_keeper.py`).

In a plan a backend stands beside the nodes, under the 56 characters of its address; so does
whatever is said of who holds a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rbcluster.core.commands import ReportBackend
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.core.rules import require, require_office, with_entry
from rbcluster.core.state import Backend, ClusterState, NodeReport, Policy
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.params import MAX_INTRO_POINTS


def report_backend(state: ClusterState, command: ReportBackend) -> ClusterState:
    """Take in what a backend's newest descriptor lists, or that it has grown stale.

    :raises RuleBrokenError: if it may not be applied.
    """
    require_office(state, command.office_node, command.office_term)
    key = command.service, command.backend
    require(key in state.backends, "that backend is not the service's")
    known, standing = state.backends[key], command.standing
    require(len(command.points) <= MAX_INTRO_POINTS, f"more than {MAX_INTRO_POINTS} points")
    auth_keys = {point.auth_key for point in command.points}
    require(len(auth_keys) == len(command.points), "one introduction point is named twice")
    is_older = known.standing is not None and standing.is_below(known.standing)
    require(not is_older, "a newer descriptor of that backend was seen before")
    has_risen = known.standing is None or known.standing.is_below(standing)
    require(has_risen or not command.points, "only a newer descriptor lists points")
    changed = replace(
        known,
        points=command.points,
        traits=command.traits,
        standing=standing,
        risen_at=command.at if has_risen else known.risen_at,
    )
    return (
        state
        if changed == known
        else replace(state, backends=with_entry(state.backends, key, changed))
    )


def is_stale(backend: Backend, policy: Policy, now: UnixMs) -> bool:
    """Tell whether a backend that is shown has not risen for so long that it must be dead."""
    if not backend.points or backend.risen_at is None:
        return False
    return now >= backend.risen_at + policy.stale_after_ms


def holder_of(backend: OnionAddress) -> NodeId:
    """Name a backend as a holder of points, beside the nodes."""
    return NodeId(backend.label)


def live_backends(state: ClusterState, service: OnionAddress) -> Mapping[NodeId, NodeReport]:
    """Find what the backends of a service hold, as if each were a node."""
    return {
        holder_of(address): NodeReport(
            origin=address,
            points=backend.points,
            traits=backend.traits,
            reported_at=backend.risen_at,
        )
        for (owner, address), backend in sorted(state.backends.items())
        if owner == service and backend.points and backend.risen_at is not None
    }
