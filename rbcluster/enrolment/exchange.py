"""What a new node and the node that lets it in say to each other, over TLS.

::

    host   Welcome       the authority's certificate; the guest goes on only if the token pins it
    guest  JoinRequest   the token's secret, name, address, signing request
    host   Admission     certificate, cluster.toml, master keys; or Rejection

Each message is one line of JSON with a size limit.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
)

from rbcluster.errors import ParseError

MAX_MESSAGE_BYTES = 1024 * 1024  # a cluster.toml of 500 nodes, and a hundred keys

M = TypeVar("M", bound=BaseModel)


def _octets(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("bytes travel as hexadecimal text")  # noqa: TRY004 - for pydantic
    return bytes.fromhex(value)


Octets = Annotated[bytes, PlainValidator(_octets), PlainSerializer(bytes.hex, return_type=str)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Welcome(_Message):
    """The host shows its authority."""

    authority: str = Field(max_length=10_000)  # PEM


class JoinRequest(_Message):
    """The guest asks to be let in."""

    secret: Octets = Field(repr=False)
    node: str = Field(max_length=63)
    address: str = Field(max_length=261)
    request: str = Field(max_length=10_000)  # signing request, PEM


class Admission(_Message):
    """All that the guest needs to run."""

    certificate: str = Field(max_length=10_000)  # PEM
    config: str = Field(max_length=MAX_MESSAGE_BYTES)  # cluster.toml
    keys: dict[str, Octets] = Field(repr=False)  # by service: tor's hs_ed25519_secret_key


class Answer(_Message):
    """What the host says to a request: one of the two is set."""

    admission: Admission | None = None
    rejection: str | None = Field(default=None, max_length=1000)


async def send(writer: asyncio.StreamWriter, message: BaseModel) -> None:
    """Send a message. The caller sets the time-out."""
    writer.write(message.model_dump_json().encode() + b"\n")
    await writer.drain()


async def receive(reader: asyncio.StreamReader, form: type[M]) -> M:
    """Receive a message. The caller sets the time-out.

    :raises ParseError: if it is too long, or of another form.
    :raises OSError: if the connection breaks.
    """
    try:
        line = await reader.readuntil(b"\n")
        return form.model_validate_json(line)
    except asyncio.IncompleteReadError as error:
        raise ParseError("the other side closed the connection") from error
    except (asyncio.LimitOverrunError, ValidationError) as error:
        raise ParseError("the other side sent something else than expected") from error
