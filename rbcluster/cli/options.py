"""Options that several commands share: which cluster.toml, which node."""

from __future__ import annotations

from pathlib import Path

import click

from rbcluster.config import NODE_VARIABLE

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
