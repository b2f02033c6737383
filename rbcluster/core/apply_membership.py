"""The part of `apply` that is about members: who they are, where, and what they are to be.

What an operator wants is a wish; roles and membership itself change only by `ChangeRole` and
`DropMember`, which the leader puts into configuration entries of the log, one at a time
(docs/decisions/0006). It tries each on its own state first, so in the log none of them is refused.

Not here: when a change is safe (`membership.py`), which depends on who is alive.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import MappingProxyType

from rbcluster.core.commands import (
    AcceptInvitation,
    AddMember,
    ChangeRole,
    DropMember,
    Invite,
    MembershipCommand,
    SetAddress,
    SetWish,
)
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.core.rules import RuleBrokenError, find_member, require, with_entry
from rbcluster.core.state import (
    MAX_VOTERS,
    ClusterState,
    Invitation,
    Member,
    Presence,
    Role,
    Wish,
)

MAX_MEMBERS = 500  # ours: their seed, at its longest, still fits into one command
MAX_INVITATIONS = 100


def changed(  # noqa: PLR0911 - one return for each command
    state: ClusterState, command: MembershipCommand
) -> ClusterState:
    """Return the state after a command.

    :raises RuleBrokenError: naming the rule that it breaks.
    """
    match command:
        case AddMember():
            return _added(state, command)
        case SetWish():
            return _wished(state, command)
        case SetAddress():
            return _readdressed(state, command)
        case Invite():
            return _invited(state, command)
        case AcceptInvitation():
            return _accepted(state, command)
        case ChangeRole():
            return _role_changed(state, command)
    return _dropped(state, command)


def _added(state: ClusterState, command: AddMember) -> ClusterState:
    require(command.wish is not Wish.GONE, "a new member is to be a voter or a learner")
    known = state.members.get(command.node)
    if known is not None:
        is_said_again = (known.address, known.wish) == (command.address, command.wish)
        require(is_said_again, f"{command.node} is a member already")
        return state
    require(len(state.members) < MAX_MEMBERS, f"a cluster has at most {MAX_MEMBERS} members")
    _require_free_address(state, command.node, command.address)
    if command.wish is Wish.VOTER:
        _require_room_for_voter(state)
    member = Member(
        node=command.node,
        address=command.address,
        role=Role.LEARNER,
        weight=command.weight,
        presence=Presence.WITHDRAWN,  # until it is heard
        wish=command.wish,
    )
    return _with_member(state, member)


def _wished(state: ClusterState, command: SetWish) -> ClusterState:
    member = find_member(state, command.node)
    if member.wish is command.wish:
        return state
    require(member.wish is not Wish.GONE, f"{command.node} is being removed")
    if command.wish is Wish.VOTER:
        _require_room_for_voter(state)
    else:
        require(
            any(other.wish is Wish.VOTER for other in _others(state, command.node)),
            f"{command.node} is the only voter: promote another first",
        )
    return _with_member(state, replace(member, wish=command.wish))


def _readdressed(state: ClusterState, command: SetAddress) -> ClusterState:
    member = find_member(state, command.node)
    if member.address == command.address:
        return state
    _require_free_address(state, command.node, command.address)
    return _with_member(state, replace(member, address=command.address))


def _invited(state: ClusterState, command: Invite) -> ClusterState:
    require(command.invitation.role is not Wish.GONE, "nobody is invited to be gone")
    kept = {
        digest: other
        for digest, other in state.invitations.items()
        if other.expires_at > command.invitation.expires_at - _LONGEST_INVITATION_MS
    }
    require(len(kept) < MAX_INVITATIONS, f"there are {MAX_INVITATIONS} open invitations")
    kept[command.digest] = command.invitation
    return replace(state, invitations=MappingProxyType(kept))


_LONGEST_INVITATION_MS = 7 * 86_400_000  # ours; what ended so long before another ends is over


def _accepted(state: ClusterState, command: AcceptInvitation) -> ClusterState:
    digest = hashlib.sha256(command.proof).digest()
    invitation = state.invitations.get(digest)
    if invitation is None:
        raise RuleBrokenError("that token is unknown, or was used already")
    require(not _is_over(invitation, command.at), "that token has expired")
    require(
        command.node not in state.members,
        f"{command.node} is a member already: if it never came to run, remove it first",
    )
    state = _added(
        state,
        AddMember(node=command.node, address=command.address, wish=invitation.role, weight=1),
    )
    left = {other: kept for other, kept in state.invitations.items() if other != digest}
    return replace(state, invitations=MappingProxyType(left))


def _is_over(invitation: Invitation, at: UnixMs) -> bool:
    return at >= invitation.expires_at


def _role_changed(state: ClusterState, command: ChangeRole) -> ClusterState:
    member = find_member(state, command.node)
    num_voters = _num_voters(state)
    if command.role is Role.VOTER:
        require(member.role is Role.LEARNER, f"{command.node} votes already")
        require(command.incarnation is not None, "a voter has a storage")
        require(num_voters < MAX_VOTERS, f"a cluster has at most {MAX_VOTERS} voters")
        new = replace(member, role=Role.VOTER, incarnation=command.incarnation)
    else:
        require(member.role is Role.VOTER, f"{command.node} has no vote")
        require(num_voters > 1, f"{command.node} is the only voter")
        new = replace(member, role=Role.LEARNER, incarnation=None)
    return _with_member(state, new)


def _dropped(state: ClusterState, command: DropMember) -> ClusterState:
    member = find_member(state, command.node)
    require(member.role is Role.LEARNER, f"{command.node} has a vote")
    members = {node: other for node, other in state.members.items() if node != command.node}
    pool = {key: report for key, report in state.pool.items() if key[1] != command.node}
    return replace(state, members=MappingProxyType(members), pool=MappingProxyType(pool))


def _num_voters(state: ClusterState) -> int:
    return sum(1 for member in state.members.values() if member.role is Role.VOTER)


def _require_room_for_voter(state: ClusterState) -> None:
    wanted = sum(1 for member in state.members.values() if member.wish is Wish.VOTER)
    require(
        wanted < MAX_VOTERS,
        f"a cluster has at most {MAX_VOTERS} voters: demote one first, or let this be a learner",
    )


def _require_free_address(state: ClusterState, node: NodeId, address: str) -> None:
    for other in _others(state, node):
        require(other.address != address, f"{address} is the address of {other.node}")


def _others(state: ClusterState, node: NodeId) -> list[Member]:
    return [member for member in state.members.values() if member.node != node]


def _with_member(state: ClusterState, member: Member) -> ClusterState:
    return replace(state, members=with_entry(state.members, member.node, member))
