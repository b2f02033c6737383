"""The torrc of a managed tor, as text.

Not here: writing and using it (`managed_tor.py`); what a system tor's torrc must hold
(`options.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rbcluster.errors import TorOptionError
from rbcluster.tor.settings import Identity, ServiceSettings, TorSettings

PID_FILE = "pid"
LOG_FILE = "tor.log"


def encode_torrc(settings: TorSettings, services: Iterable[ServiceSettings]) -> str:
    """Write the torrc of a managed tor.

    The operator's extra lines come first: after a HiddenServiceDir they would belong to that
    service, and of an option given twice tor takes the last, which is ours.

    :param services: of one identity.
    :raises TorOptionError: if a line or path holds a line break.
    """
    tor_dir = settings.tor_dir
    services = tuple(services)
    identity = services[0].identity if services else Identity.SHARED
    lines = [
        *settings.extra_lines,
        f"DataDirectory {_quote(tor_dir / 'data')}",
        f"PidFile {_quote(tor_dir / PID_FILE)}",
        f"Log {_quote(f'notice file {tor_dir / LOG_FILE}')}",
        "RunAsDaemon 1",  # in a session of its own: it survives rbcluster
        f"ControlPort unix:{_quote(settings.control_socket)}",  # ControlSocket takes no spaces
        "CookieAuthentication 1",
        f"CookieAuthFile {_quote(tor_dir / 'cookie')}",
        f"PublishHidServDescriptors {identity.publishes}",
    ]
    if not any(line.split()[:1] == ["SocksPort"] for line in settings.extra_lines):
        lines.append("SocksPort 0")
    for service in services:
        lines += [
            f"HiddenServiceDir {_quote(service.directory)}",
            "HiddenServiceVersion 3",
            *(f"HiddenServicePort {port}" for port in service.ports),
            "HiddenServiceOnionbalanceInstance 1",
        ]
    for line in lines:
        if "\n" in line or "\r" in line:
            raise TorOptionError(f"{line!r} can't stand in a torrc: it holds a line break")
    return "\n".join(lines) + "\n"


def _quote(value: Path | str) -> str:
    r"""Quote a whole value as torrc wants it.

    >>> _quote("/a b")
    '"/a b"'
    """
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
