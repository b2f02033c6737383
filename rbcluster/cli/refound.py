"""`rbcluster refound`: a new cluster from what one node knows, for when the old one is lost."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import click

from rbcluster.cli.options import config_option, node_option
from rbcluster.cli.phrasing import printable
from rbcluster.config import load_config, resolve_node
from rbcluster.core.ids import ID_BYTES, ClusterId, Incarnation, NodeId
from rbcluster.core.refounding import refounded
from rbcluster.core.rules import RuleBrokenError
from rbcluster.core.state import ClusterState
from rbcluster.daemon import STATE_MACHINE, storage_place
from rbcluster.errors import StorageError
from rbcluster.raft.machine import MachineState
from rbcluster.raft.refounding import read_remains
from rbcluster.raft.refounding import refound as begin_anew
from rbcluster.raft.storage import StoragePlace


@click.command()
@config_option
@node_option
@click.option("--yes", is_flag=True, help="Don't ask.")
def refound(*, config_path: Path, node: str | None, yes: bool) -> None:
    """Begin a new cluster from what this node knows, with a new id; the others join it clean.

    For a cluster that lost a majority of its voters for good, or one brought back from a backup.
    The daemon must not run. Answer no to see only what this node knows. Nothing is deleted.
    """
    config = load_config(config_path)
    name = resolve_node(config, node, os.environ, socket.gethostname())
    place = storage_place(config, name)
    cluster = ClusterId(os.urandom(ID_BYTES))
    click.echo(printable(_knowledge(place, cluster)))
    if not yes:
        click.confirm(_QUESTION, abort=True)
    aside = begin_anew(
        place,
        MachineState(STATE_MACHINE),
        cluster,
        lambda state, drawn: _begun(state, cluster, name, drawn),
        datetime.now(UTC),
    )
    click.echo(_next_steps(name, cluster, aside))


_QUESTION = (
    "What other nodes alone know is lost: of all storages that are left, take the one with the\n"
    "highest term, and of those the one with the highest entry. No node of the old cluster may\n"
    "run any more: it would publish beside the new one. Begin a new cluster here?"
)


def _knowledge(place: StoragePlace, cluster: ClusterId) -> str:
    """Say how much a node knows, and check that a cluster can be begun from it."""
    remains = read_remains(place, MachineState(STATE_MACHINE))
    _begun(remains.state, cluster, place.node, Incarnation(bytes(ID_BYTES)))
    members = ", ".join(map(str, sorted(remains.state.members)))
    return (
        f"{place.node} knows cluster {remains.state.name} up to entry {remains.last_index} of term "
        f"{remains.last_term}; its members: {members}."
    )


def _begun(
    state: ClusterState, cluster: ClusterId, node: NodeId, incarnation: Incarnation
) -> ClusterState:
    try:
        return refounded(state, cluster=cluster, node=node, incarnation=incarnation)
    except RuleBrokenError as error:
        raise StorageError(f"no cluster can be begun from what {node} knows: {error}") from error


def _next_steps(node: NodeId, cluster: ClusterId, aside: Path) -> str:
    return "\n".join(
        [
            f"{node} alone is now cluster {cluster}. Its old storage is kept as",
            f"{printable(str(aside))}.",
            "In [cluster] of every node's cluster.toml, write",
            f'  id = "{cluster}"',
            f'  founder = "{node}"',
            f"and start {node}. On every other node: rbcluster reset-node --yes, then start it: it",
            "fetches everything, and gets its vote back. Certificates and keys stay as they are.",
        ]
    )
