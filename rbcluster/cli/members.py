"""`rbcluster add | promote | demote | remove | node set-address`: who belongs to the cluster."""

from __future__ import annotations

from typing import Literal

import click

from rbcluster.api.operations import (
    ADD,
    SET_ADDRESS,
    SET_ROLE,
    AddRequest,
    AddressRequest,
    WishRequest,
)
from rbcluster.cli.options import NODE, Daemon, daemon_options
from rbcluster.core.ids import NodeId
from rbcluster.endpoint import HostPort

_LATER = "; that is written down and will be done: rbcluster status says what it waits for"


class _Endpoint(click.ParamType[HostPort]):
    """A host and a port on the command line."""

    name = "host:port"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        """Check the form; whether anybody is there is not looked at."""
        try:
            return HostPort.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


ADDRESS = _Endpoint()
"""Type of an argument that says where a node is reached: IPv4, [IPv6], DNS or onion name; port."""


@click.command()
@click.argument("name", metavar="NODE", type=NODE)
@click.argument("address", type=ADDRESS, metavar="HOST:PORT")
@click.option("--learner", is_flag=True, help="It is to serve and follow, without a vote.")
@daemon_options
def add(*, name: NodeId, address: HostPort, learner: bool, daemon: Daemon) -> None:
    """Make NODE a member, which was certified by hand (rbcluster certify).

    It begins as a learner, and gets its vote once it has caught up.
    """
    role: Literal["voter", "learner"] = "learner" if learner else "voter"
    daemon.ask(ADD, AddRequest(node=name, address=address, role=role))
    click.echo(f"{name} is a member: start it")


@click.command()
@click.argument("name", metavar="NODE", type=NODE)
@daemon_options
def promote(*, name: NodeId, daemon: Daemon) -> None:
    """Give NODE a vote, as soon as it has caught up; at most 7 nodes have one."""
    _set_role(daemon, name, "voter", f"{name} votes", f"{name} has no vote yet")


@click.command()
@click.argument("name", metavar="NODE", type=NODE)
@daemon_options
def demote(*, name: NodeId, daemon: Daemon) -> None:
    """Take NODE its vote; it goes on serving. Refused if that would cost the quorum."""
    _set_role(daemon, name, "learner", f"{name} has no vote", f"{name} still votes")


@click.command()
@click.argument("name", metavar="NODE", type=NODE)
@daemon_options
def remove(*, name: NodeId, daemon: Daemon) -> None:
    """End NODE's membership: its certificate is worth nothing from then on.

    Refused if that would cost the quorum. With identity "shared" it still holds the master key.
    """
    _set_role(daemon, name, "gone", f"{name} is no member", f"{name} is still a member")


def _set_role(
    daemon: Daemon,
    node: NodeId,
    role: Literal["voter", "learner", "gone"],
    done: str,
    not_yet: str,
) -> None:
    answer = daemon.ask(SET_ROLE, WishRequest(node=node, role=role))
    click.echo(done if answer.is_fulfilled else f"{not_yet}{_LATER}")


@click.group()
def node() -> None:
    """Change what is known of a node."""


@node.command("set-address")
@click.argument("name", metavar="NODE", type=NODE)
@click.argument("address", type=ADDRESS, metavar="HOST:PORT")
@daemon_options
def set_address(*, name: NodeId, address: HostPort, daemon: Daemon) -> None:
    """Say where NODE's peers reach it; where it listens, its own cluster.toml says.

    HOST is an IPv4 address, an [IPv6] address, a DNS name (looked up anew at each connection) or an
    onion name.
    """
    daemon.ask(SET_ADDRESS, AddressRequest(node=name, address=address))
    click.echo(f"{name} is reached at {address}")
