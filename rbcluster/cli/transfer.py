"""`rbcluster transfer`: hand the leadership over."""

from __future__ import annotations

import click

from rbcluster.api.operations import TRANSFER, TransferRequest
from rbcluster.cli.options import NODE, Daemon, daemon_options
from rbcluster.cli.phrasing import printable
from rbcluster.core.ids import NodeId


@click.command()
@click.argument("to", metavar="[NODE]", type=NODE, required=False)
@daemon_options
def transfer(*, to: NodeId | None, daemon: Daemon) -> None:
    """Hand the leadership to NODE, or to the voter that the leader chooses."""
    answer = daemon.ask(TRANSFER, TransferRequest(to=to))
    click.echo(f"{printable(answer.leader.name)} leads")
