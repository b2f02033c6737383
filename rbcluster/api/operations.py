"""What the local API can be asked to do: each request and its answer as values.

`server.py` answers, `client.py` asks; both speak these. A request that was not carried out is
answered by a `Refusal`, whose kind says what the asker may conclude.

Overview::

    Operation(name, request, answer)      POST /v1/<name>
    TRANSFER                              hand the leadership over
    DRAIN, UNDRAIN                        take a node off the descriptors, and let it back
    MAINTENANCE                           whether the silence of nodes withdraws them
    INVITE, ADD, SET_ROLE, SET_ADDRESS    who belongs to the cluster, as what, and where
    Refusal                               kind, detail; `refusal_of` and `error_of` translate
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from rbcluster.core.commands import MAX_MAINTENANCE_MS
from rbcluster.core.ids import NodeId
from rbcluster.endpoint import HostPort
from rbcluster.errors import (
    CommandError,
    NoLeader,
    OutcomeUnknown,
    RbclusterError,
    RuleBroken,
)


class Value(BaseModel):
    """A request or an answer: never changes; fields that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _node_id(value: object) -> NodeId:
    if isinstance(value, NodeId):
        return value
    if not isinstance(value, str):
        raise ValueError("a node's name is a text")  # noqa: TRY004 - for pydantic
    return NodeId(value)


Node = Annotated[NodeId, PlainValidator(_node_id), PlainSerializer(str, return_type=str)]


def _endpoint(value: object) -> HostPort:
    if isinstance(value, HostPort):
        return value
    if not isinstance(value, str):
        raise ValueError("an address is a text")  # noqa: TRY004 - for pydantic
    return HostPort.parse(value)


Endpoint = Annotated[HostPort, PlainValidator(_endpoint), PlainSerializer(str, return_type=str)]

Q = TypeVar("Q", bound=Value)
A = TypeVar("A", bound=Value)


@dataclass(frozen=True, slots=True)
class Operation(Generic[Q, A]):
    """Something that can be asked for."""

    name: str
    request: type[Q]
    answer: type[A]

    @property
    def path(self) -> str:
        """Where it is asked for."""
        return f"/v1/{self.name}"


class RefusalKind(Enum):
    """What is known of a request that was not answered as wished."""

    INVALID = "invalid"  # it makes no sense: nothing was done
    NO_LEADER = "no-leader"  # nobody could decide: nothing was done
    RULE = "rule"  # a rule is against it: it was not done
    UNKNOWN = "unknown"  # no answer in time: it may be done, or still get done


class Refusal(BaseModel):
    """Why a request was not carried out."""

    kind: RefusalKind
    detail: str  # a sentence, with the remedy


_ERRORS: dict[RefusalKind, tuple[int, type[RbclusterError]]] = {
    RefusalKind.INVALID: (400, CommandError),
    RefusalKind.NO_LEADER: (503, NoLeader),
    RefusalKind.RULE: (409, RuleBroken),
    RefusalKind.UNKNOWN: (504, OutcomeUnknown),
}


def refusal_of(error: RbclusterError) -> tuple[int, Refusal]:
    """Translate an error into an HTTP status and what goes with it; of another kind: a rule."""
    kind = next(
        (kind for kind, (_, known) in _ERRORS.items() if isinstance(error, known)),
        RefusalKind.RULE,
    )
    return _ERRORS[kind][0], Refusal(kind=kind, detail=str(error))


def error_of(refusal: Refusal) -> RbclusterError:
    """Translate it back, for whoever asked."""
    return _ERRORS[refusal.kind][1](refusal.detail)


class TransferRequest(Value):
    """Hand the leadership over."""

    to: Node | None = None  # a voter; None: to whom the leader chooses


class TransferAnswer(Value):
    """Who leads now."""

    leader: Node


TRANSFER = Operation("transfer", TransferRequest, TransferAnswer)


class DrainRequest(Value):
    """Take a node's introduction points off the descriptors."""

    node: Node
    force: bool = False  # even if no other node would be left on show


class DrainAnswer(Value):
    """It is decided; status tells when every HSDir has the new descriptor and who is connected."""

    left: int = Field(ge=0)  # nodes that may still be on show


class UndrainRequest(Value):
    """Let a node's introduction points back."""

    node: Node


class UndrainAnswer(Value):
    """It is decided."""


class MaintenanceRequest(Value):
    """Let the silence of nodes withdraw nobody for a while."""

    for_s: Annotated[float, Field(gt=0, le=MAX_MAINTENANCE_MS / 1000)] | None  # None: end it


class MaintenanceAnswer(Value):
    """Until when."""

    until_ms: int | None  # milliseconds since the Unix epoch; None: it is ended


DRAIN = Operation("drain", DrainRequest, DrainAnswer)
UNDRAIN = Operation("undrain", UndrainRequest, UndrainAnswer)
MAINTENANCE = Operation("maintenance", MaintenanceRequest, MaintenanceAnswer)


class Done(Value):
    """It is done, or at least written down."""


class AddRequest(Value):
    """Make a node that has its certificate already a member."""

    node: Node
    address: Endpoint
    role: Literal["voter", "learner"] = "voter"


class WishRequest(Value):
    """Give a member a vote, take it, or end its membership."""

    node: Node
    role: Literal["voter", "learner", "gone"]


class WishAnswer(Value):
    """Whether that has come true already; if not, it will when nothing stands against it."""

    is_fulfilled: bool


class AddressRequest(Value):
    """Say where a member's peers reach it."""

    node: Node
    address: Endpoint


class InviteRequest(Value):
    """Open a join listener, and make a token for it."""

    listen: Endpoint
    minutes: int = Field(ge=1)
    role: Literal["voter", "learner"] = "voter"


class InviteAnswer(Value):
    """The token: a secret."""

    token: str = Field(repr=False)


INVITE = Operation("invite", InviteRequest, InviteAnswer)
ADD = Operation("add", AddRequest, Done)
SET_ROLE = Operation("set-role", WishRequest, WishAnswer)
SET_ADDRESS = Operation("set-address", AddressRequest, Done)
