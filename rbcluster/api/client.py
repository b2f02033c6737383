"""Ask a daemon on this machine how its cluster is, or to do something (`server.py` answers)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
from pydantic import TypeAdapter, ValidationError

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.operations import A, Operation, Q, Refusal, error_of
from rbcluster.errors import RbclusterError

DEFAULT_TIMEOUT_S = 5.0
OPERATION_TIMEOUT_S = 30.0  # longer than the daemon takes to say that it can't be done
_DOCUMENT = TypeAdapter(StatusDocument)
_IS_IT = "is it rbcluster, of this version?"


class NoDaemon(RbclusterError):  # noqa: N818 - a state of the world, not a mistake
    """No daemon gave an answer that could be used."""


async def fetch_status(path: Path, timeout_s: float = DEFAULT_TIMEOUT_S) -> StatusDocument:
    """Fetch the status document from a Unix socket.

    :param timeout_s: for the whole exchange, seconds.
    :raises NoDaemon: if nobody answers, in time or in this form.
    """
    async with (
        _session(path, "status", timeout_s) as session,
        session.get("http://localhost/v1/status") as response,
    ):
        response.raise_for_status()
        document = await response.json()
    try:
        _DOCUMENT.validate_python(document)
    except ValidationError as error:
        raise NoDaemon(f"what answers at {path} sent no status document: {_IS_IT}") from error
    return cast("StatusDocument", document)  # as it came: with keys that a later version added


async def ask(
    path: Path, operation: Operation[Q, A], request: Q, timeout_s: float = OPERATION_TIMEOUT_S
) -> A:
    """Have a daemon carry something out.

    :param timeout_s: for the whole exchange, seconds.
    :raises NoDaemon: if nobody answers, in time or in this form; it may be done all the same.
    :raises RbclusterError: what the daemon raised instead (`operations.RefusalKind`).
    """
    async with (
        _session(path, f"answer to {operation.name}", timeout_s) as session,
        session.post(
            f"http://localhost{operation.path}", data=request.model_dump_json()
        ) as response,
    ):
        body = await response.read()
        try:
            if response.ok:
                return operation.answer.model_validate_json(body)
            raise error_of(Refusal.model_validate_json(body))
        except ValidationError as error:
            response.raise_for_status()
            msg = f"what answers at {path} sent no answer to {operation.name}: {_IS_IT}"
            raise NoDaemon(msg) from error


@contextlib.asynccontextmanager
async def _session(
    path: Path, wanted: str, timeout_s: float
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session over a Unix socket; how it can fail, told in words.

    :raises NoDaemon: if it does.
    """
    try:
        connector = aiohttp.UnixConnector(path=str(path))
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield session
    except TimeoutError as error:
        msg = f"the daemon at {path} gave no answer in {timeout_s:g} s: see its log"
        raise NoDaemon(f"{msg} with journalctl -u rbcluster") from error
    except aiohttp.ClientResponseError as error:
        msg = f"what answers at {path} gave no {wanted} ({error.status} {error.message})"
        raise NoDaemon(f"{msg}: {_IS_IT}") from error
    except PermissionError as error:
        msg = f"no permission to use {path}: run this as root or as a member of the socket's group"
        raise NoDaemon(msg) from error
    except (OSError, aiohttp.ClientError, ValueError) as error:
        msg = f"no daemon answers at {path}: is rbcluster running? systemctl status rbcluster"
        raise NoDaemon(msg) from error
