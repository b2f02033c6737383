"""`rbcluster drain` and `undrain`: take a node off the descriptors before it is touched."""

from __future__ import annotations

import time

import click

from rbcluster.api.client import NoDaemon
from rbcluster.api.operations import DRAIN, UNDRAIN, DrainRequest, UndrainRequest
from rbcluster.cli.drain_progress import DrainProgress, Phase
from rbcluster.cli.options import NODE, SPAN, Daemon, daemon_options
from rbcluster.cli.phrasing import count, duration
from rbcluster.core.ids import NodeId
from rbcluster.errors import RbclusterError

DRAIN_GRACE = "15m"  # ours: most downloads over Tor end within it
_LOOK_EVERY_S = 0.25


@click.command()
@click.argument("target", metavar="NODE", type=NODE)
@click.option(
    "--wait", is_flag=True, help="Return when no HSDir shows the node and its visitors have left."
)
@click.option(
    "--grace",
    "grace_s",
    type=SPAN,
    default=DRAIN_GRACE,
    show_default=True,
    help="Wait no longer than this.",
)
@click.option("--force", is_flag=True, help="Even if no other node is left on show.")
@daemon_options
def drain(*, target: NodeId, wait: bool, grace_s: float, force: bool, daemon: Daemon) -> None:
    """Take NODE off the descriptors, so that it can be stopped; a leader hands over before.

    Visitors who are connected stay so. With --wait it returns 0 also when the grace has passed and
    some are left, and 1 if some HSDir has not taken the new descriptor by then.
    """
    left = daemon.ask(DRAIN, DrainRequest(node=target, force=force)).left
    if left == 0:
        click.echo(f"{target} is drained; no node is left on show: HSDirs keep what they have")
    elif wait:
        click.echo(_wait(daemon, target, grace_s))
    else:
        click.echo(f"{target} is drained: its introduction points are being taken off")


def _wait(daemon: Daemon, node: NodeId, grace_s: float) -> str:
    """Wait for a drain to be done, or for the grace to pass.

    :returns: what became of it, for the operator.
    :raises RbclusterError: if some HSDir has not taken the new descriptor.
    """
    give_up_at = time.monotonic() + grace_s
    progress, trouble = DrainProgress(), None
    while progress.phase is not Phase.DONE and time.monotonic() < give_up_at:
        try:
            progress, trouble = progress.after(daemon.status(), node, time.monotonic()), None
        except NoDaemon as error:  # it may be this very daemon that is being restarted
            trouble = error
        if progress.phase is not Phase.DONE:
            time.sleep(max(0.0, min(_LOOK_EVERY_S, give_up_at - time.monotonic())))
    if trouble is not None:
        raise NoDaemon(f"{node} is drained, but how far is not known: {trouble}") from trouble
    if progress.phase is Phase.DONE:
        return f"{node} is drained: no HSDir shows it, and no visitor is connected"
    if progress.phase is Phase.PUBLISHING:
        raise RbclusterError(
            f"{node} is drained, but after {duration(grace_s)} not every HSDir has the new "
            "descriptor: see rbcluster status"
        )
    left = progress.visitors
    still = (
        "it does not say how many visitors are connected"
        if left is None
        else f"{count(left, 'visitor')} still connected"
    )
    return f"{node} is drained: no HSDir shows it; after {duration(grace_s)} {still}"


@click.command()
@click.argument("target", metavar="NODE", type=NODE)
@daemon_options
def undrain(*, target: NodeId, daemon: Daemon) -> None:
    """Put NODE back on the descriptors."""
    daemon.ask(UNDRAIN, UndrainRequest(node=target))
    click.echo(f"{target} is no longer drained: its introduction points are being put back")
