"""`rbcluster reset-node`: set a storage aside that this node refuses to start with."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import click

from rbcluster.cli.options import config_option, node_option
from rbcluster.cli.phrasing import printable
from rbcluster.config import Config, load_config, resolve_node
from rbcluster.core.ids import NodeId
from rbcluster.core.state import Role
from rbcluster.daemon import STATE_MACHINE, storage_place
from rbcluster.errors import StorageError, StorageInUseError
from rbcluster.raft.machine import MachineState
from rbcluster.raft.storage import StoragePlace, check_storage, set_aside


@click.command("reset-node")
@config_option
@node_option
@click.option("--force", is_flag=True, help="Also if it is sound.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def reset_node(*, config_path: Path, node: str | None, force: bool, yes: bool) -> None:
    """Set this node's Raft storage aside: it starts clean and catches up from the others.

    For a node that refuses to start with what is on its disk. Nothing is deleted.
    """
    config = load_config(config_path)
    name = resolve_node(config, node, os.environ, socket.gethostname())
    place = storage_place(config, name)
    if not place.directory.exists():
        click.echo(f"{printable(str(place.directory))} does not exist: {name} starts clean")
        return
    click.echo(printable(_reason(place, force=force)))
    if not yes:
        click.confirm(_question(config, name), abort=True)
    aside = set_aside(place.directory, datetime.now(UTC))
    click.echo(
        f"It is kept as {printable(str(aside))}. Start {name}: it begins a new life and fetches "
        "everything from the others."
    )


def _reason(place: StoragePlace, *, force: bool) -> str:
    """Say what is wrong with a storage.

    :raises StorageError: if it is in use; or sound, and not to be set aside in spite of that.
    :raises SchemaError: if a newer release wrote it: the others' would be no better.
    """
    try:
        check_storage(place, MachineState(STATE_MACHINE))
    except StorageInUseError:
        raise
    except StorageError as error:
        return str(error)
    if not force:
        raise StorageError(
            f"{place.directory} is sound, so {place.node} can start with it: "
            "--force sets it aside all the same"
        )
    return f"{place.directory} is sound."


def _question(config: Config, name: NodeId) -> str:
    others = [each for each in config.nodes if each.role is Role.VOTER and each.name != name]
    if not others:
        return f"{name} is the only voter: what the cluster agreed on is lost. Set it aside?"
    return "Is a majority of the voters up without this node? If not, don't. Set it aside?"
