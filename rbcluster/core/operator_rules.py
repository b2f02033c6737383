"""What follows from an operator's commands: transfer, drain, maintenance.

A part of `apply.py`, under its rules: no clock, no randomness, no I/O.
"""

from __future__ import annotations

from dataclasses import replace

from rbcluster.core.commands import (
    MAX_MAINTENANCE_MS,
    EndMaintenance,
    OperatorCommand,
    OrderTransfer,
    SetDrained,
    SetMaintenance,
)
from rbcluster.core.ids import NodeId
from rbcluster.core.rules import (
    RuleBrokenError,
    find_member,
    require,
    require_office,
    with_entry,
)
from rbcluster.core.state import ClusterState, Role, Transfer


def follow_operator(state: ClusterState, command: OperatorCommand) -> ClusterState:
    """Return the state after an operator's command.

    :raises RuleBrokenError: if it may not be applied.
    """
    match command:
        case OrderTransfer():
            return _order_transfer(state, command)
        case SetDrained():
            return _set_drained(state, command)
        case _:  # SetMaintenance: the type checker sees to it that no other is left
            return _set_maintenance(state, command)


def _order_transfer(state: ClusterState, command: OrderTransfer) -> ClusterState:
    office = state.office
    if office is None or office.term != command.term:
        raise RuleBrokenError("the office has changed hands meanwhile")
    if command.to is not None:
        successor = find_member(state, command.to)
        require(successor.role is Role.VOTER, f"{command.to} is no voter")
        require(not successor.drained, f"{command.to} is drained, soon to be stopped")
        require(command.to != office.node, f"{command.to} leads already")
    return replace(state, transfer=Transfer(to=command.to))


def _set_drained(state: ClusterState, command: SetDrained) -> ClusterState:
    member = find_member(state, command.node)
    if member.drained is command.drained:
        return state
    if command.drained and not command.force:
        _require_others_on_show(state, command.node)
    member = replace(member, drained=command.drained)
    return replace(state, members=with_entry(state.members, member.node, member))


def _require_others_on_show(state: ClusterState, node: NodeId) -> None:
    """Require that each service that a node is on show for has another node on show."""
    others = {m.node for m in state.members.values() if m.node != node and m.may_be_shown}
    require(bool(others), "no node would be left on show")
    for service in sorted(state.services):
        holders = {holder for address, holder in state.pool if address == service}
        require(
            node not in holders or bool(holders & others),
            f"no node would be left on show for {state.services[service]}",
        )


def _set_maintenance(state: ClusterState, command: SetMaintenance) -> ClusterState:
    if command.until is not None:
        require(
            command.at < command.until <= command.at + MAX_MAINTENANCE_MS,
            f"a maintenance lasts at most {MAX_MAINTENANCE_MS // 3_600_000} h",
        )
    return replace(state, maintenance_until=command.until)


def end_maintenance(state: ClusterState, command: EndMaintenance) -> ClusterState:
    """Return the state after a maintenance that is over.

    :raises RuleBrokenError: if it was moved, or the office changed hands, meanwhile.
    """
    require_office(state, command.office_node, command.office_term)
    require(state.maintenance_until == command.until, "that maintenance was changed meanwhile")
    return replace(state, maintenance_until=None)
