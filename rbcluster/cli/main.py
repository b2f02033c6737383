"""`rbcluster`: the commands, and how they fail.

A command's module knows its options and calls the rest of the package; pages are drawn by modules
of their own (`status_page.py`, `descriptor_page.py`).

Overview::

    rbcluster init              certificates, keys and cluster.toml for a new cluster
    rbcluster run               the daemon
    rbcluster status            how the cluster is
    rbcluster transfer          hand the leadership over
    rbcluster invite | join | certify   new nodes
    rbcluster add | promote | demote | remove | node set-address    members
    rbcluster reset-node        set a storage aside that this node refuses to start with
    rbcluster refound           begin a new cluster from what one node knows
    rbcluster drain | undrain   take a node off the descriptors before touching it, and put it back
    rbcluster maintenance       let silent nodes stay on show for a while
    rbcluster key new | show    master keys
    rbcluster descriptor show   decode any v3 descriptor
    rbcluster demo              all of it on this machine, with a private Tor network
"""

from __future__ import annotations

import io
import sys

import click

from rbcluster import __version__
from rbcluster.cli.complaint import complain
from rbcluster.cli.demo import demo
from rbcluster.cli.descriptor import descriptor
from rbcluster.cli.drain import drain, undrain
from rbcluster.cli.enrol import certify, invite, join
from rbcluster.cli.init import init
from rbcluster.cli.key import key
from rbcluster.cli.maintenance import maintenance
from rbcluster.cli.members import add, demote, node, promote, remove
from rbcluster.cli.refound import refound_command
from rbcluster.cli.reset_node import reset_node
from rbcluster.cli.run import run
from rbcluster.cli.status import status
from rbcluster.cli.transfer import transfer
from rbcluster.errors import RbclusterError


class _Commands(click.Group):
    """Turns errors raised on purpose into a line on stderr; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RbclusterError as error:
            complain(error)
            ctx.exit(1)


@click.group(
    name="rbcluster", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="rbcluster")
def main() -> None:
    """Keep Tor onion services reachable from many identical nodes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? for a mark


_COMMANDS = (
    *(init, run, status, transfer, drain, undrain, maintenance, reset_node, refound_command),
    *(invite, join, certify, add, promote, demote, remove, node),
    *(key, descriptor, demo),
)
for command in _COMMANDS:
    main.add_command(command)
