"""`rbcluster invite | join | certify`: how a new machine comes to be a node."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from rbcluster.api.operations import INVITE, InviteRequest
from rbcluster.cli.members import ADDRESS
from rbcluster.cli.options import DEFAULT_CONFIG, NODE, Daemon, daemon_options
from rbcluster.config import DEFAULT_DATA_DIR, NodePaths, load_config
from rbcluster.core.ids import NodeId
from rbcluster.endpoint import HostPort
from rbcluster.enrolment.guest import ask_to_join, check_is_free, settle_in
from rbcluster.enrolment.token import Token
from rbcluster.errors import ConfigError
from rbcluster.pki import issue_certificate, load_authority, write_node_tls
from rbcluster.tor.key_directory import read_secret_key, write_key_directory


@click.command()
@click.option(
    "--listen",
    type=ADDRESS,
    required=True,
    metavar="HOST:PORT",
    help="Where the new machine will ask; a port of its own, open for as long as this lasts.",
)
@click.option(
    "--minutes",
    type=click.IntRange(1, 7 * 24 * 60),
    default=60,
    show_default=True,
    help="How long the token can be used.",
)
@click.option("--learner", is_flag=True, help="The new node is to serve, without a vote.")
@daemon_options
def invite(*, listen: HostPort, minutes: int, learner: bool, daemon: Daemon) -> None:
    """Print a token that lets one new machine in, once: for `rbcluster join`.

    Whoever holds it can become a node, which gets the services' master keys: hand it over as you
    would those. This node must hold the authority's key, and a vote.
    """
    role: Literal["voter", "learner"] = "learner" if learner else "voter"
    answer = daemon.ask(INVITE, InviteRequest(listen=listen, minutes=minutes, role=role))
    click.echo(answer.token)


@click.command()
@click.argument("token")
@click.option("--node", "name", type=NODE, required=True, metavar="NAME", help="Its name-to-be.")
@click.option(
    "--address",
    type=ADDRESS,
    required=True,
    metavar="HOST:PORT",
    help="Where the other nodes reach it: IPv4, [IPv6], DNS or onion name, and port.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="For certificate and keys.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The cluster.toml to write.",
)
def join(*, token: str, name: NodeId, address: HostPort, data_dir: Path, config_path: Path) -> None:
    """Make this machine a node of the cluster that TOKEN is from; `-` reads TOKEN from stdin."""
    is_piped = token == "-"  # noqa: S105 - no password: where to read it
    line = sys.stdin.readline() if is_piped else token
    parsed = Token.parse(line)
    check_is_free(data_dir, config_path)
    membership = asyncio.run(ask_to_join(parsed, name, address))
    settle_in(membership, name, data_dir, config_path)
    click.echo(
        f"{name} is a member. Its certificate and keys are in {data_dir}, its cluster.toml is "
        f"{config_path}.\nStart it with: rbcluster run --config {config_path} --node {name}"
    )


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@click.argument("name", metavar="NODE", type=NODE)
def certify(*, directory: Path, name: NodeId) -> None:
    """Make the folder of NODE in DIR, which `rbcluster init` made: certificate and master keys.

    It becomes the data directory of the new node; `rbcluster add` on a running one lets it in. An
    existing folder gets a new certificate.
    """
    authority = load_authority(directory / "ca")
    paths = NodePaths(directory / "nodes" / name.name)
    services = load_config(directory / "cluster.toml").services
    sources = [path for path in sorted((directory / "nodes").iterdir()) if path.name != name.name]
    write_node_tls(paths.tls_dir, authority, issue_certificate(authority, name, datetime.now(UTC)))
    for service in services:
        target = paths.key_dir(service.name)
        if not target.exists():
            write_key_directory(target, read_secret_key(_key_of(service.name, sources)))
    click.echo(f"{paths.data_dir} is the data directory of {name}")


def _key_of(service: str, folders: list[Path]) -> Path:
    for folder in folders:
        path = NodePaths(folder).key_dir(service) / "hs_ed25519_secret_key"
        if path.exists():
            return path
    raise ConfigError(f"no node's folder holds the key of {service}: bring it back first")
