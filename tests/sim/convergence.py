"""What must be true once everything has healed, and how soon: the liveness that is promised.

With a majority alive and the network whole, within `HEALED_WITHIN_S` there is one leader, every
live node has applied all that was committed, every member is what operators want it to be (unless
too few voters are left for that), no vote is on a lost disk, and every responsible HSDir holds a
descriptor with exactly the introduction points of the live, undrained members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbcluster.core.ids import NodeId
from rbcluster.core.state import Wish
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.hashring import HashRing, slot_times
from rbcluster.hs.intro_point import IntroPoint
from rbcluster.raft.view import Role
from tests.sim import site
from tests.sim.stand_ins import read_document

if TYPE_CHECKING:
    from tests.sim.world import World

HEALED_WITHIN_S = 150.0
"""The sum of what may be waited for: an upload without an answer (30 s) and its back-off (up to
60 s), a spent upload budget (30 s), an election, withdrawals."""


def missing(world: World) -> str | None:
    """Say what is not yet as it should be; None if all is."""
    members = world.ledger.state.members
    live = [m for m in world.machines.values() if m.node in members and not m.is_gone]
    engines = [machine.engine for machine in live if machine.engine is not None]
    if len(engines) < len(live):
        return "a process is down"
    leaders = [engine.view.leader for engine in engines if engine.view.role is Role.LEADER]
    if len(leaders) != 1:
        return f"{len(leaders)} nodes lead"
    behind = [
        m.node for m in live if m.engine and m.engine.view.last_applied < world.ledger.last_index
    ]
    if behind:
        return f"{behind[0]} has not applied all that was committed"
    return _missing_among_members(world) or _missing_on_show(world)


def _missing_among_members(world: World) -> str | None:
    """Say who is not what it is to be, though it could be."""
    state, voters = world.ledger.state, world.ledger.voters
    for node, member in state.members.items():
        machine = world.machines[node]
        is_to_vote, votes = member.wish is Wish.VOTER, node in voters
        is_reset = votes and not machine.is_gone and member.incarnation != machine.storage
        if votes and (is_reset or not is_to_vote):
            if _has_majority(world, voters - {node}):
                return f"{node} votes still"
        elif not votes and is_to_vote:
            if not machine.is_gone and _has_majority(world, voters | {node}):
                return f"{node} does not vote yet"
        elif member.wish is Wish.GONE:
            return f"{node} is a member still"
    return None


def _has_majority(world: World, voters: set[NodeId]) -> bool:
    """Tell whether a majority of such voters could answer."""
    members, machines = world.ledger.state.members, world.machines
    able = [
        node
        for node in voters
        if not machines[node].is_gone
        and members[node].incarnation in (None, machines[node].storage)
    ]
    return 2 * len(able) > len(voters)


def _missing_on_show(world: World) -> str | None:
    wanted = _wanted(world)
    if not wanted:
        return None
    relays = {point.relay for point in wanted}
    known = {point.auth_key.raw: point for point in wanted}
    for slot, slot_time in slot_times(world.consensus).items():
        blinded = derive_blinded_key(site.SITE.identity, slot_time.period)
        for hsdir in HashRing.at(world.consensus, slot_time).responsible(blinded):
            document = world.hsdirs.held.get((hsdir, blinded))
            shown = read_document(document)[2] if document else frozenset()
            if not shown <= known.keys():
                return f"HSDir {hsdir.raw[0]} shows points in slot {slot.value} that are gone"
            if {known[key].relay for key in shown} != relays:
                return f"HSDir {hsdir.raw[0]} lacks points in slot {slot.value}"
    return None


def _wanted(world: World) -> tuple[IntroPoint, ...]:
    """List what the tors of the live nodes hold; of several on one relay, any one will do."""
    return tuple(
        point
        for machine in world.machines.values()
        if not machine.is_gone and machine.node in world.ledger.members - world.ledger.drained
        if machine.tor.local is not None
        for point in machine.tor.local.points
    )
