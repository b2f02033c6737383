"""What `status` says of the members: wishes that wait, certificates that end, too few voters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta

from rbcluster.core.ids import NodeId
from rbcluster.core.state import Member, Role, Wish

CERTIFICATE_WARNING = timedelta(days=30)
_TWO_VOTERS = 2


def voter_notes(voters: tuple[NodeId, ...]) -> Iterator[str]:
    """Say what is right as it stands, and yet should be known."""
    if len(voters) == _TWO_VOTERS:
        yield (
            "two voters tolerate no failure: while either is down nothing can be published, "
            "and if either loses its disk the cluster is lost; a third one changes that"
        )


def founding_notes(named: Collection[NodeId], voters: Collection[NodeId]) -> Iterator[str]:
    """Warn of a cluster.toml with which a node that lost its disk would meet nobody.

    :param named: those that this node's file names as voters.
    """
    if len(named) == 1 and len(voters) > 1:
        (sole,) = named
        yield (
            f"this node's cluster.toml names no voter but {sole}: if {sole} lost its disk it would "
            "found a second cluster with it; add a [[node]] for each of the others"
        )


def set_back_problem(node: NodeId) -> str:
    """Say that a node's disk knows less than it did."""
    return (
        f"{node} is refused: its disk was set back (a backup or an image was brought back, or its "
        "power was lost with fsync = false), so it may have forgotten votes: rbcluster reset-node "
        "there"
    )


def wish_problem(member: Member, waits_for: Mapping[NodeId, str | None]) -> str | None:
    """Say what a member is to become, and what that waits for.

    :param waits_for: why not yet, as the leader sees it; empty on every other node.
    """
    if member.role.value == member.wish.value:
        return None
    goal = {
        Wish.VOTER: "is to get a vote",
        Wish.LEARNER: "is to lose its vote",
        Wish.GONE: "is to be removed",
    }[member.wish]
    if member.role is Role.LEARNER and member.wish is Wish.VOTER and not waits_for:
        return f"{member.node} {goal}: it has yet to catch up, or the leader says why not"
    return f"{member.node} {goal}: {waits_for.get(member.node) or 'that is under way'}"


def certificate_problem(node: NodeId, ends_at: datetime | None, now: datetime) -> str | None:
    """Say that a certificate ends soon: it should have renewed itself months before."""
    if ends_at is None or ends_at - now > CERTIFICATE_WARNING:
        return None
    when = "ended" if ends_at <= now else "ends"
    return (
        f"{node}: its certificate {when} {ends_at:%Y-%m-%d %H:%M} UTC and was not renewed: "
        "a voter that holds the authority's key must run, or make one with rbcluster certify"
    )
