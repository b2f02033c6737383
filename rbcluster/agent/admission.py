"""What the leader lets into the log: a node speaks for itself, and proves its points.

A leader that was deposed has its late commands refused here, before they take a place in the log.
A report of introduction points is accepted only with the signed descriptor they were read from:
its blinded key must belong to the address that the node says it serves under, the service's or one
of its own (docs/identity.md). So whatever it puts in was shown by who holds that address's key, and
a member can put in no point that it could not also answer for by itself.

An operator's command comes by the API of whatever node the operator is on, under that node's
certificate; so it can't be told from one that the node itself made up, and need not be. A voter can
win an election, and a leader writes the log: taking an operator's command from a voter gives away
nothing that the voter could not take. A learner can't be elected, and is believed in nothing but
what is its own: its operator may drain it, and is sent to a voter for all else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

from rbcluster.core.codec import decode_command
from rbcluster.core.commands import (
    AcceptInvitation,
    AddMember,
    ChangeRole,
    DropMember,
    EndMaintenance,
    EndTransfer,
    Invite,
    MemberRequest,
    OperatorCommand,
    OrderTransfer,
    RaiseFloor,
    RaiseSchema,
    RecordRound,
    ReportBackend,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    SetAddress,
    SetDrained,
    SetMaintenance,
    SetPresence,
    SetWish,
    TakeOffice,
)
from rbcluster.core.ids import NodeId
from rbcluster.core.membership import Sight, refusal_of
from rbcluster.core.state import Member, Role, Wish
from rbcluster.errors import CommandError, DescriptorError
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.descriptor import find_period, open_descriptor


def refusal(  # noqa: PLR0911 - one return for each kind of command
    sender: NodeId,
    data: bytes,
    *,
    myself: NodeId,
    members: Mapping[NodeId, Member],
    consensus: ConsensusView | None,
    sight: Callable[[], Sight],
) -> str | None:
    """Say why a command may not enter the log; None if it may.

    :param sender: the node whose certificate the command came with.
    :param data: the command as proposed.
    :param myself: this node, which leads.
    :param members: of the cluster, as replicated.
    :param consensus: this node's, whose periods a reported descriptor may be of.
    :param sight: what this node sees of the members.
    """
    try:
        command = decode_command(data)
    except CommandError as error:
        return str(error)
    match command:  # every kind is named: a new one can't get in by being forgotten
        case ReportIntroPoints(node=node) if node != sender:
            return f"{sender} may not speak for {node}"
        case ReportIntroPoints(points=points):
            return _report_refusal(command, consensus) if points else None
        case OrderTransfer() | SetDrained() | SetMaintenance():
            return _operator_refusal(sender, command, members)
        case AddMember() | SetWish() | SetAddress() | Invite():
            return _operator_refusal(sender, command, members) or _request_refusal(
                command, sender, members, sight
            )
        case AcceptInvitation():  # it proves itself
            return None
        case SeedCluster() | ChangeRole() | DropMember():
            return "who belongs to the cluster is changed by its leader alone"
        case (
            TakeOffice()
            | SetPresence()
            | ReservePublication()
            | ReportBackend()
            | RaiseFloor()
            | RaiseSchema()
            | RecordRound()
            | EndTransfer()
            | EndMaintenance()
        ):
            is_leader = sender == myself
            return None if is_leader else f"{sender} does not lead: only the leader may say that"
        case _:
            assert_never(command)


def _operator_refusal(
    sender: NodeId, command: OperatorCommand | MemberRequest, members: Mapping[NodeId, Member]
) -> str | None:
    """Say why an operator may not decide by way of this node; the docstring above says why so."""
    voters = [node.name for node, member in members.items() if member.role is Role.VOTER]
    is_about_itself = isinstance(command, SetDrained) and command.node == sender
    if sender.name in voters or (is_about_itself and sender in members):
        return None
    return f"{sender} has no vote, so it may not pass on such a request: ask on {', '.join(voters)}"


def _request_refusal(
    command: MemberRequest,
    sender: NodeId,
    members: Mapping[NodeId, Member],
    sight: Callable[[], Sight],
) -> str | None:
    """Hold a request about the members against what is safe now."""
    match command:
        case SetWish(node=node, wish=Wish.GONE) if node == sender:  # it is cut off before
            return f"{node} could not see its own removal done: ask on another node"
        case SetWish():
            return refusal_of(command, members, sight())
        case _:
            return None


def _report_refusal(command: ReportIntroPoints, consensus: ConsensusView | None) -> str | None:
    """Hold a report against the descriptor that comes with it."""
    if consensus is None:
        return "the leader has no consensus to verify a report against yet"
    try:
        period = find_period(command.descriptor, command.origin, consensus.candidate_periods)
        descriptor = open_descriptor(command.descriptor, command.origin, period)
    except DescriptorError as error:
        return f"the reported descriptor does not hold: {error}"
    if not set(command.points) <= set(descriptor.points):
        return "the report names introduction points that its descriptor does not list"
    if command.traits != descriptor.traits:
        return "the report's traits are not those of its descriptor"
    return None
