"""Which part of the agent carries out each operation of the local API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rbcluster.agent.members_operator import MembersOperator
from rbcluster.agent.operator import Operator
from rbcluster.api.operations import (
    ADD,
    DRAIN,
    INVITE,
    MAINTENANCE,
    SET_ADDRESS,
    SET_ROLE,
    TRANSFER,
    UNDRAIN,
    A,
    AddRequest,
    AddressRequest,
    Done,
    DrainAnswer,
    DrainRequest,
    InviteAnswer,
    InviteRequest,
    MaintenanceAnswer,
    MaintenanceRequest,
    Operation,
    Q,
    TransferAnswer,
    TransferRequest,
    UndrainAnswer,
    UndrainRequest,
    WishAnswer,
    WishRequest,
)
from rbcluster.core.state import Wish
from rbcluster.enrolment.host import JoinHost


@dataclass(frozen=True, slots=True)
class Route:
    """An operation, and who carries it out. Made by `route`, which sees that the types fit."""

    operation: Operation[Any, Any]
    carry_out: Callable[[Any], Awaitable[Any]]


def route(operation: Operation[Q, A], carry_out: Callable[[Q], Awaitable[A]]) -> Route:
    """Have an operation carried out by a function, which may raise any `RbclusterError`."""
    return Route(operation, carry_out)


def operator_routes(operator: Operator) -> tuple[Route, ...]:
    """List what an operator may ask for."""

    async def transfer(request: TransferRequest) -> TransferAnswer:
        return TransferAnswer(leader=await operator.transfer(request.to))

    async def drain(request: DrainRequest) -> DrainAnswer:
        return DrainAnswer(left=await operator.drain(request.node, force=request.force))

    async def undrain(request: UndrainRequest) -> UndrainAnswer:
        await operator.undrain(request.node)
        return UndrainAnswer()

    async def maintenance(request: MaintenanceRequest) -> MaintenanceAnswer:
        for_ms = None if request.for_s is None else round(1000 * request.for_s)
        return MaintenanceAnswer(until_ms=await operator.maintain(for_ms))

    return (
        route(TRANSFER, transfer),
        route(DRAIN, drain),
        route(UNDRAIN, undrain),
        route(MAINTENANCE, maintenance),
    )


def member_routes(members: MembersOperator, host: JoinHost) -> tuple[Route, ...]:
    """List what an operator may ask about the members."""

    async def invite(request: InviteRequest) -> InviteAnswer:
        lifetime = timedelta(minutes=request.minutes)
        token = await host.invite(request.listen, lifetime, Wish(request.role))
        return InviteAnswer(token=token.encode())

    async def add(request: AddRequest) -> Done:
        await members.add(request.node, str(request.address), Wish(request.role))
        return Done()

    async def set_role(request: WishRequest) -> WishAnswer:
        return WishAnswer(is_fulfilled=await members.set_wish(request.node, Wish(request.role)))

    async def set_address(request: AddressRequest) -> Done:
        await members.set_address(request.node, str(request.address))
        return Done()

    return (
        route(INVITE, invite),
        route(ADD, add),
        route(SET_ROLE, set_role),
        route(SET_ADDRESS, set_address),
    )
