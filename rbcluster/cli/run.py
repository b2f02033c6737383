"""`rbcluster run`: the daemon, in the foreground (systemd keeps it running)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

import click

from rbcluster.cli.options import config_option, node_option
from rbcluster.config import load_config, resolve_node
from rbcluster.daemon import run_node


@click.command()
@config_option
@node_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What goes to stderr; debug names onion addresses.",
)
def run(config_path: Path, node: str | None, log_level: str) -> None:
    """Run this node until it is stopped by SIGTERM or SIGINT."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    config = load_config(config_path)
    name = resolve_node(config, node, os.environ, socket.gethostname())
    asyncio.run(run_node(config, name))
