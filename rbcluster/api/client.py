"""Ask a daemon on this machine how its cluster is (`server.py` answers)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import aiohttp
from pydantic import TypeAdapter, ValidationError

from rbcluster.agent.status_document import StatusDocument
from rbcluster.errors import RbclusterError

DEFAULT_TIMEOUT_S = 5.0
_DOCUMENT = TypeAdapter(StatusDocument)


class NoDaemon(RbclusterError):  # noqa: N818 - a state of the world, not a mistake
    """No daemon gave an answer that could be used."""


async def fetch_status(path: Path, timeout_s: float = DEFAULT_TIMEOUT_S) -> StatusDocument:
    """Fetch the status document from a Unix socket.

    :param timeout_s: for the whole exchange, seconds.
    :raises NoDaemon: if nobody answers, in time or in this form.
    """
    try:
        connector = aiohttp.UnixConnector(path=str(path))
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://localhost/v1/status") as response,
        ):
            response.raise_for_status()
            document = await response.json()
    except TimeoutError as error:
        msg = f"the daemon at {path} gave no answer in {timeout_s:g} s: see its log"
        raise NoDaemon(f"{msg} with journalctl -u rbcluster") from error
    except aiohttp.ClientResponseError as error:
        msg = f"what answers at {path} gave no status ({error.status} {error.message})"
        raise NoDaemon(f"{msg}: is it rbcluster, of this version?") from error
    except PermissionError as error:
        msg = f"no permission to use {path}: run this as root or as a member of the socket's group"
        raise NoDaemon(msg) from error
    except (OSError, aiohttp.ClientError, ValueError) as error:
        msg = f"no daemon answers at {path}: is rbcluster running? systemctl status rbcluster"
        raise NoDaemon(msg) from error
    try:
        _DOCUMENT.validate_python(document)
    except ValidationError as error:
        msg = f"what answers at {path} sent no status document"
        raise NoDaemon(f"{msg}: is it rbcluster, of this version?") from error
    return cast("StatusDocument", document)  # as it came: with keys that a later version added
