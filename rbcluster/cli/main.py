"""`rbcluster`: the commands, and how they fail.

A command's module knows its options and calls the rest of the package; pages are drawn by modules
of their own (`status_page.py`, `descriptor_page.py`).

Overview::

    rbcluster init              certificates, keys and cluster.toml for a new cluster
    rbcluster import-onionbalance    the same from an Onionbalance configuration
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
from importlib import import_module

import click

from rbcluster import __version__
from rbcluster.cli.complaint import complain
from rbcluster.errors import RbclusterError

_COMMANDS = {  # name -> its module in this package; the function has the command's name
    "init": "init",
    "import-onionbalance": "import_onionbalance",
    "run": "run",
    "status": "status",
    "transfer": "transfer",
    "drain": "drain",
    "undrain": "drain",
    "maintenance": "maintenance",
    "reset-node": "reset_node",
    "refound": "refound",
    "invite": "enrol",
    "join": "enrol",
    "certify": "enrol",
    "add": "members",
    "promote": "members",
    "demote": "members",
    "remove": "members",
    "node": "members",
    "key": "key",
    "descriptor": "descriptor",
    "demo": "demo",
}


class _Commands(click.Group):
    """Imports a command when it is asked for: the daemon keeps in memory only what it uses.

    Errors raised on purpose become a line on stderr; a bug keeps its traceback.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"rbcluster.cli.{_COMMANDS[cmd_name]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

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
