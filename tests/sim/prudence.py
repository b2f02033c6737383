"""What a cluster can't survive is not done to it: no majority of the voters is lost for good.

An operator's request may be under way, and the leader may not know yet that a machine is lost. So
every set of voters that may come to be in force is looked at, in words of this module's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, combinations
from typing import TYPE_CHECKING

from rbcluster.core.ids import NodeId
from rbcluster.core.membership import voters_of
from rbcluster.raft.configuration import Configuration

if TYPE_CHECKING:
    from tests.sim.world import World

NOTICED_WITHIN_S = 9.0  # how long a request, or the loss of a machine, may go unnoticed
_MAX_IN_MOTION = 5


def is_survived(world: World, lost: Collection[NodeId], moved: Collection[NodeId] = ()) -> bool:
    """Tell whether a majority stays intact whatever set of voters may be in force by now.

    :param lost: whose machine or disk is to be lost now.
    :param moved: whose vote is to be changed now.
    """
    in_motion = {*lost, *moved, *_in_motion(world)}
    if len(in_motion) > _MAX_IN_MOTION:
        return False
    known = list(_in_force(world))
    return bool(known) and all(
        _has_majority(world, voters, frozenset(voters) ^ set(changed), lost)
        for voters in known
        for changed in _subsets(sorted(in_motion))
    )


def _in_force(world: World) -> Iterator[Configuration]:
    """List the voters as last committed, and as some node's log has them since."""
    ledger = world.ledger
    if ledger.voters:
        yield voters_of(ledger.state.members)
    for machine in world.machines.values():
        index, voters = machine.configured
        if index > ledger.configured_at:
            yield voters


def _in_motion(world: World) -> Iterator[NodeId]:
    for member in world.ledger.state.members.values():
        storage = world.machines[member.node].storage
        is_reset = member.incarnation is not None and member.incarnation != storage
        if member.role.value != member.wish.value or is_reset:
            yield member.node
    for node, asked_at in world.asked_at.items():
        if world.loop.now - asked_at < NOTICED_WITHIN_S:
            yield node


def _has_majority(
    world: World, before: Configuration, voters: Collection[NodeId], lost: Collection[NodeId]
) -> bool:
    intact = [
        node
        for node in voters
        if node not in lost
        and not world.machines[node].is_gone
        and world.machines[node].storage is not None
        and before.get(node) in (None, world.machines[node].storage)
    ]
    return not voters or 2 * len(intact) > len(voters)


def _subsets(nodes: list[NodeId]) -> Iterator[tuple[NodeId, ...]]:
    return chain.from_iterable(combinations(nodes, size) for size in range(len(nodes) + 1))
