"""Where things are reached: TCP endpoints, Unix sockets, and the ports of an onion service.

Used by `config.py` and by whoever connects, listens or writes a torrc. No I/O, no name look-ups.
`explain` says why an endpoint could not be used.

Spec: the value of HiddenServicePort is tor(1)'s ``VIRTPORT [TARGET]``.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

_MAX_PORT = 65_535
_MAX_HOST_CHARS = 253  # RFC 1035 2.3.4, as text without the final dot
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"({_LABEL}\.)*{_LABEL}")


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """A TCP endpoint: a host name or address in its shortest spelling, and a port (1..65535).

    >>> str(HostPort.parse("[2001:DB8:0::1]:7300"))
    '[2001:db8::1]:7300'
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """Read ``host:port``; an IPv6 address stands in brackets.

        :raises ValueError: if it has another form.
        """
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not (colon and host) or (":" in host and not bracketed):
            msg = (
                f"{text!r} is no host:port: write 192.0.2.1:7300, [2001:db8::1]:7300 "
                "or a.example.org:7300"
            )
            raise ValueError(msg)
        name = _ipv6(host[1:-1]) if bracketed else _host_name(host)
        return cls(name, parse_port(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OnionPort:
    """One port of an onion service and where it leads: the value of a HiddenServicePort line.

    >>> str(OnionPort.parse("80"))
    '80 127.0.0.1:80'
    """

    port: int  # what visitors connect to, 1..65535
    target: HostPort | Path  # a TCP endpoint, or an absolute path of a Unix socket

    @classmethod
    def parse(cls, text: str) -> OnionPort:
        """Read tor's ``VIRTPORT [TARGET]``; TARGET is a port, an address, both, or ``unix:PATH``.

        A host name counts only with a port: alone, it may as well be a mistyped port.

        :raises ValueError: if it has another form.
        """
        virtual, _, target = text.strip().partition(" ")
        port, target = parse_port(virtual), target.strip()
        if target.startswith("unix:"):
            return cls(port, parse_socket_path(target))
        if target.isdigit():
            return cls(port, HostPort("127.0.0.1", parse_port(target)))
        if not target:
            return cls(port, HostPort("127.0.0.1", port))
        return cls(port, _bare_address(target, port) or HostPort.parse(target))

    def __str__(self) -> str:
        is_socket = isinstance(self.target, Path)
        return f"{self.port} " + (f'unix:"{self.target}"' if is_socket else str(self.target))


def explain(error: OSError) -> str:
    """Say why an endpoint can't be used, in the system's words alone: asyncio adds the address.

    >>> explain(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"))
    'Connection refused'
    >>> explain(TimeoutError())
    'no answer'
    """
    if error.errno is not None and error.errno > 0:  # a failed name look-up has negative ones
        return os.strerror(error.errno)
    silent = "no answer" if isinstance(error, TimeoutError) else "the connection was cut"
    return error.strerror or str(error) or silent


def parse_port(text: str) -> int:
    """Read a TCP port (1..65535).

    :raises ValueError: if it is none.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _MAX_PORT):
        msg = f"{text!r} is no port: use a number from 1 to {_MAX_PORT}"
        raise ValueError(msg)
    return int(text)


def _host_name(text: str) -> str:
    """Lower-case a DNS name or check an IPv4 address."""
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is no IPv4 address: {error}") from error
    name = text.removesuffix(".").lower()
    if len(name) > _MAX_HOST_CHARS or not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is no host name: use letters, digits, hyphens and dots")
    return name


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no IPv6 address: {error}") from error


def _bare_address(target: str, port: int) -> HostPort | None:
    """Read a target that names no port; None: it must name one.

    :raises ValueError: if it is a name, or neither a name nor an address.
    """
    if target.startswith("[") and target.endswith("]"):
        return HostPort(_ipv6(target[1:-1]), port)
    if ":" in target:
        return None
    if re.fullmatch(r"[0-9.]+", target):
        return HostPort(_host_name(target), port)
    raise ValueError(
        f"{target!r} is no port, IP address or unix:PATH: write 8080, 127.0.0.1:8080, "
        "unix:/run/web.sock, or a name with its port as in web.example.org:8080"
    )


def parse_socket_path(text: str) -> Path:
    """Read ``unix:/path`` or ``unix:"/path"``.

    :raises ValueError: if the path is not absolute, or holds what a torrc line can't.
    """
    path = text.removeprefix("unix:").strip('"')
    if not path.startswith("/") or '"' in path or not path.isprintable():
        raise ValueError(f"{text!r} names no Unix socket: write unix: and an absolute path")
    return Path(path)
