"""`rbcluster status`: ask this machine's daemon how the cluster is."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from rbcluster.agent.status_document import EXIT_CODES
from rbcluster.api.client import DEFAULT_TIMEOUT_S, fetch_status
from rbcluster.cli.complaint import complain
from rbcluster.cli.options import config_option, find_api_socket, node_option, socket_option
from rbcluster.cli.status_page import render_status
from rbcluster.errors import RbclusterError

_NO_ANSWER = 2  # the exit code that tells a monitor the same as "no leader"


@click.command(epilog="Exit code: 0 healthy, 1 degraded, 2 no leader or no answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the status document (docs/status.md).")
@config_option
@node_option
@socket_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TIMEOUT_S,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.pass_context
def status(
    ctx: click.Context,
    *,
    as_json: bool,
    config_path: Path,
    node: str | None,
    socket_path: Path | None,
    timeout_s: float,
) -> None:
    """Show how the cluster is."""
    try:
        path = socket_path or find_api_socket(config_path, node)
        document = asyncio.run(fetch_status(path, timeout_s))
    except RbclusterError as error:
        complain(error)
        ctx.exit(_NO_ANSWER)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))
    else:
        Console(highlight=False).print(render_status(document, datetime.now(UTC)))
    ctx.exit(EXIT_CODES[document["health"]])
