"""Who should vote next: one change of the members at a time, none that costs the quorum. Pure.

Operators state wishes (`Member.wish`); the leader carries them out, one committed change after the
other, as soon as each is safe. So whatever is interrupted, the next leader goes on with it. A voter
that lost its disk comes back the same way: it is no longer who may vote (its storage is of another
incarnation), so it is made a learner; its wish makes it a voter again once it has caught up.

docs/decisions/0006 says why single-server changes are safe here. Raft thesis 4.1 to 4.3.

Overview::

    first_members(...)                those of a new cluster
    voters_of(members)                who votes, and with which storage
    keeps_quorum(voters, alive)       would a majority of these voters be alive
    Sight                             what the leader sees of the members now
    next_step(members, sight)         ChangeRole | DropMember | HandOver | None
    obstacle(member, members, sight)  why a wish is not fulfilled yet, in words
    refusal_of(wish, members, sight)  why a wish is not even taken down
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rbcluster.core.commands import ChangeRole, DropMember, SetWish
from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.core.state import MAX_VOTERS, Member, Role, Wish

Members = Mapping[NodeId, Member]


@dataclass(frozen=True, slots=True)
class HandOver:
    """The leader itself is to lose its vote: another voter must lead first."""


Step = ChangeRole | DropMember | HandOver


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the leader sees of the members at one moment."""

    myself: NodeId
    linked: Mapping[NodeId, Incarnation]  # whose link is up, this node included
    caught_up: Collection[NodeId]  # learners that hold all that is committed
    keyless: Collection[NodeId]  # that said they hold no usable master key


def voters_of(members: Members) -> dict[NodeId, Incarnation | None]:
    """List who votes, with the storage that may; None: whichever it has (a static cluster)."""
    return {
        node: member.incarnation for node, member in members.items() if member.role is Role.VOTER
    }


def first_members(
    named: Iterable[Member],
    voters: Collection[NodeId],
    storages: Mapping[NodeId, Incarnation],
) -> tuple[Member, ...]:
    """Make the members of a new cluster: those who vote already, and those who are to."""
    return tuple(
        replace(member, role=Role.VOTER, incarnation=storages.get(member.node))
        if member.node in voters
        else replace(member, role=Role.LEARNER, incarnation=None)
        for member in named
    )


def keeps_quorum(voters: Collection[NodeId], alive: Collection[NodeId]) -> bool:
    """Tell whether a majority of these voters is alive."""
    return 2 * sum(1 for voter in voters if voter in alive) > len(voters)


def has_lost_storage(member: Member, linked: Mapping[NodeId, Incarnation]) -> bool:
    """Tell whether a voter is back with another storage than the one that may vote."""
    here = linked.get(member.node)
    return (
        member.role is Role.VOTER
        and member.incarnation is not None
        and here is not None
        and here != member.incarnation
    )


def alive_voters(members: Members, sight: Sight) -> frozenset[NodeId]:
    """List the members that are linked; a voter counts only with the storage that may vote."""
    return frozenset(
        node
        for node, member in members.items()
        if node in sight.linked and not has_lost_storage(member, sight.linked)
    )


def next_step(members: Members, sight: Sight) -> Step | None:
    """Say what the leader should do next about the members; None: nothing that is safe now."""
    for member in _by_urgency(members, sight):
        step = _step_for(member, members, sight)
        if step is not None:
            return step
    return None


def _by_urgency(members: Members, sight: Sight) -> Iterable[Member]:
    """Order the members: lost storage first, then promotions, which make the rest safer."""
    return sorted(
        members.values(),
        key=lambda member: (
            not has_lost_storage(member, sight.linked),
            member.wish is not Wish.VOTER,
            member.node,
        ),
    )


def _step_for(member: Member, members: Members, sight: Sight) -> Step | None:
    if obstacle(member, members, sight) is not None:
        return None
    if member.role is Role.LEARNER:
        return _step_of_learner(member, sight)
    if member.wish is Wish.VOTER and not has_lost_storage(member, sight.linked):
        return None
    if member.node == sight.myself:
        return HandOver()
    return ChangeRole(node=member.node, role=Role.LEARNER, incarnation=None)


def _step_of_learner(member: Member, sight: Sight) -> Step | None:
    match member.wish:
        case Wish.VOTER:
            here = sight.linked[member.node]
            return ChangeRole(node=member.node, role=Role.VOTER, incarnation=here)
        case Wish.GONE:
            return DropMember(node=member.node)
        case _:
            return None


def obstacle(member: Member, members: Members, sight: Sight) -> str | None:
    """Say why a member is not yet what it is to be; None: nothing stands against it."""
    if member.role is Role.LEARNER:
        if member.wish is Wish.VOTER:
            return _obstacle_to_promotion(member, members, sight)
        return None
    if member.wish is not Wish.VOTER or has_lost_storage(member, sight.linked):
        return _obstacle_to_demotion(member, members, sight)
    return None


def refusal_of(wish: SetWish, members: Members, sight: Sight) -> str | None:
    """Say why an operator's wish is refused at once; None if it may be taken down.

    What only takes time (a node that is down, or behind) is no reason to refuse it.
    """
    member = members.get(wish.node)
    if member is None or wish.wish is member.wish:
        return None  # `apply` has the word
    if wish.wish is Wish.VOTER:
        return _keyless(member.node) if member.node in sight.keyless else None
    return _obstacle_to_demotion(member, members, sight) if member.role is Role.VOTER else None


def _keyless(node: NodeId) -> str:
    return (
        f"{node} has no usable master key, so it could not publish when it leads: "
        "copy the services' key directories there"
    )


def _obstacle_to_promotion(member: Member, members: Members, sight: Sight) -> str | None:
    voters = voters_of(members)
    if len(voters) >= MAX_VOTERS:
        return f"there are {MAX_VOTERS} voters already, and more may not be: demote one first"
    if member.node not in sight.linked:
        return f"{member.node} can't be reached: start it, or see its log"
    if member.node in sight.keyless:
        return _keyless(member.node)
    if member.node not in sight.caught_up:
        return f"{member.node} has not caught up yet"
    if not keeps_quorum([*voters, member.node], alive_voters(members, sight)):
        return "too few voters are up to count one more: start those that are down"
    return None


def _obstacle_to_demotion(member: Member, members: Members, sight: Sight) -> str | None:
    rest = [node for node in voters_of(members) if node != member.node]
    if not rest:
        return f"{member.node} is the only voter: promote another first"
    if not keeps_quorum(rest, alive_voters(members, sight)):
        return (
            f"without {member.node}, no majority of the voters "
            f"{', '.join(map(str, sorted(rest)))} would be up: start those that are down first"
        )
    return None
