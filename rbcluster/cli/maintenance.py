"""`rbcluster maintenance`: silent nodes stay on show for a while."""

from __future__ import annotations

from typing import Literal

import click

from rbcluster.api.operations import MAINTENANCE, MaintenanceRequest
from rbcluster.cli.options import SPAN, Daemon, daemon_options
from rbcluster.cli.phrasing import duration
from rbcluster.core.commands import MAX_MAINTENANCE_MS

MAINTENANCE_LIMIT = "30m"
_MAX_S = MAX_MAINTENANCE_MS / 1000


@click.command()
@click.argument("switch", metavar="on|off", type=click.Choice(["on", "off"]))
@click.option(
    "--for",
    "for_s",
    type=SPAN,
    default=MAINTENANCE_LIMIT,
    show_default=True,
    help="It ends by itself after this; at most 24h.",
)
@daemon_options
def maintenance(*, switch: Literal["on", "off"], for_s: float, daemon: Daemon) -> None:
    """Let silent nodes stay on show: while rbcluster is exchanged under tors that go on serving.

    A node that really dies meanwhile stays on show too. A node whose own tor has lost its circuits
    is taken off as ever.
    """
    if not 0 < for_s <= _MAX_S:
        raise click.BadParameter("give more than 0s and at most 24h", param_hint="--for")
    daemon.ask(MAINTENANCE, MaintenanceRequest(for_s=for_s if switch == "on" else None))
    if switch == "on":
        click.echo(f"maintenance is on for {duration(for_s)}: silent nodes stay on show")
    else:
        click.echo("maintenance is off: silent nodes are taken off the descriptors")
