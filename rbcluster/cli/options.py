"""Options that several commands share: which cluster.toml, which node, which daemon.

Overview::

    config_option, node_option, socket_option
    daemon_options      all three, as the one argument `daemon` (a `Daemon`)
    NODE                type of an argument that names a node
    SPAN                type of an option that takes a span of time
    Daemon.ask          have this machine's daemon carry something out
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.client import ask, fetch_status
from rbcluster.api.operations import A, Operation, Q
from rbcluster.config import NODE_VARIABLE, load_config, resolve_node
from rbcluster.core.ids import NodeId

DEFAULT_CONFIG = Path("/etc/rbcluster/cluster.toml")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="RBCLUSTER_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The cluster.toml.",
)
node_option = click.option(
    "--node", metavar="NAME", help=f"This node's name in it [{NODE_VARIABLE}, or the host name]."
)
socket_option = click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    help="The daemon's API socket, without looking into a cluster.toml.",
)


class _NodeName(click.ParamType[NodeId]):
    """A node's name on the command line."""

    name = "node"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> NodeId:
        """Check the form of a name; whether there is such a node, the cluster knows."""
        try:
            return NodeId(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Span(click.ParamType[float]):
    """A span of time on the command line: ``90s``, ``15m``, ``2h``; seconds without a unit."""

    name = "span"
    _FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)?")
    _UNITS: ClassVar = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3_600}

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a span as seconds."""
        match = self._FORM.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no span of time: write 90s, 15m or 2h", param, ctx)
        return float(match[1]) * self._UNITS[match[2]]


SPAN = _Span()
"""Type of an option that takes a span of time; its value is seconds."""
NODE = _NodeName()
"""Type of an argument that names a node."""


def find_api_socket(config_path: Path, node: str | None) -> Path:
    """Find where this machine's daemon listens.

    :raises ConfigError: if cluster.toml does not say.
    """
    config = load_config(config_path)
    name = resolve_node(config, node, os.environ, socket.gethostname())
    return config.node(name).paths.api_socket


@dataclass(frozen=True, slots=True)
class Daemon:
    """This machine's daemon, by its API socket."""

    path: Path

    def ask(self, operation: Operation[Q, A], request: Q) -> A:
        """Have it carry something out.

        :raises RbclusterError: if it does not, or does not answer.
        """
        return asyncio.run(ask(self.path, operation, request))

    def status(self) -> StatusDocument:
        """Have it say how the cluster is.

        :raises NoDaemon: if it does not answer.
        """
        return asyncio.run(fetch_status(self.path))


def daemon_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which daemon to ask, as the argument `daemon`."""

    @functools.wraps(command)
    def with_daemon(
        *args: Any,
        config_path: Path,
        node: str | None,
        socket_path: Path | None,
        **kwargs: Any,
    ) -> None:
        path = socket_path or find_api_socket(config_path, node)
        command(*args, daemon=Daemon(path), **kwargs)

    return config_option(node_option(socket_option(with_daemon)))
