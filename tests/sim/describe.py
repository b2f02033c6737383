"""Commands in a line each, as a timeline shows them."""

from __future__ import annotations

from rbcluster.core.codec import decode_command
from rbcluster.core.commands import (
    AddMember,
    ChangeRole,
    Command,
    DropMember,
    EndMaintenance,
    OrderTransfer,
    RecordRound,
    ReportIntroPoints,
    ReservePublication,
    SetDrained,
    SetMaintenance,
    SetPresence,
    SetWish,
    TakeOffice,
)
from tests.sim.site import OWNERS


def name_of(command: bytes) -> str:
    return describe(decode_command(command))


def describe(command: Command) -> str:
    """Say in a line what a command wants."""
    return f"{type(command).__name__} {_details(command)}".rstrip()


def _details(command: Command) -> str:  # noqa: PLR0911 - one return for each command
    match command:
        case TakeOffice():
            return f"{command.node} term={command.term}"
        case SetPresence():
            return f"{command.node} {command.presence.value}"
        case SetDrained():
            return f"{command.node} {command.drained}"
        case SetMaintenance() | EndMaintenance():
            return f"until {command.until}"
        case OrderTransfer():
            return f"to {command.to or 'anyone'}"
        case ReportIntroPoints():
            return f"{command.node} num={len(command.points)}"
        case ReservePublication(reservation=wanted):
            owners = " ".join(sorted({OWNERS[key].name for key in wanted.auth_keys}))
            by = f"by {wanted.node} term={wanted.term}"
            return f"{wanted.slot.value} {wanted.revision} {by}: {owners}"
        case RecordRound():
            return f"{command.revision}: {len(command.accepted)} hold it"
        case _:
            return _about_members(command)


def _about_members(command: Command) -> str:
    match command:
        case AddMember() | SetWish():
            return f"{command.node} {command.wish.value}"
        case ChangeRole():
            return f"{command.node} {command.role.value}"
        case DropMember():
            return command.node.name
        case _:
            return ""
