"""`rbcluster init`: all that a new cluster needs, in one folder.

::

    DIR/cluster.toml        the same file for every node
    DIR/ca/                 ca.crt, ca.key: who holds the key can add nodes; it belongs on no node
    DIR/nodes/NODE/         what becomes that node's data directory
        tls/                ca.crt, node.crt, node.key
        services/SERVICE/   the master key, in tor's form

The folder appears as a whole or not at all, and nothing is ever written over.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from rbcluster.cli.key import new_keypair
from rbcluster.cli.options import DEFAULT_CONFIG
from rbcluster.config import Config, NodeConfig, NodePaths, Profile, parse_config
from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.pki import create_authority, issue_certificate, write_authority, write_node_tls
from rbcluster.tor.key_directory import import_secret_key, write_key_directory


@click.command(short_help="Make certificates, keys and a cluster.toml.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The cluster's name: a-z, 0-9 and inner hyphens.")
@click.option(
    "--node",
    "nodes",
    metavar="NAME=HOST:PORT",
    required=True,
    multiple=True,
    help="A node and where its peers reach it; once for each node.",
)
@click.option("--service", default="web", show_default=True, help="Your name for the service.")
@click.option(
    "--port",
    "ports",
    multiple=True,
    default=["80 127.0.0.1:8080"],
    show_default=True,
    help="Where visitors are led, as tor's HiddenServicePort; may be repeated.",
)
@click.option(
    "--profile",
    type=click.Choice([profile.value for profile in Profile]),
    default=Profile.LAN.value,
    show_default=True,
    help="How far apart the nodes are.",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="Import a master key: tor's hs_ed25519_secret_key, a 64-byte expanded key or a 32-byte "
    "seed. Without it, a new one is made.",
)
def init(
    *,
    directory: Path,
    name: str,
    nodes: tuple[str, ...],
    service: str,
    ports: tuple[str, ...],
    profile: str,
    key_file: Path | None,
) -> None:
    """Make certificates, keys and a cluster.toml for a new cluster, in the new folder DIR."""
    keypair = import_secret_key(key_file) if key_file else new_keypair()
    config = parse_config(
        {
            "cluster": {"name": name, "profile": profile},
            "node": [_split_node(node) for node in nodes],
            "service": [
                {
                    "name": service,
                    "address": str(OnionAddress(keypair.public)),
                    "ports": list(ports),
                }
            ],
        },
        base=directory.absolute(),
        source="init",
    )
    _write_whole(directory, config, keypair)
    _explain(directory, config)


def _split_node(text: str) -> dict[str, str]:
    """Read ``NAME=HOST:PORT``; whether each is right is for the rules of cluster.toml to say."""
    name, equals, address = text.partition("=")
    if not equals:
        raise ConfigError(f"--node {text!r} is no NAME=HOST:PORT: write it as a=192.0.2.1:7300")
    return {"name": name, "address": address}


def _write_whole(directory: Path, config: Config, keypair: IdentityKeypair) -> None:
    """Write everything beside the folder, then put it in place in one step.

    :raises ConfigError: if the folder exists and is not empty, or can't be written.
    """
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(f"{directory} exists: nothing is written over, name a new folder")
        directory.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=directory.absolute().parent, prefix=".rbcluster-init-"))
        try:
            _write(draft, config, keypair)
            draft.rename(directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ConfigError(f"{directory} can't be written: {error.strerror}") from error


def _write(directory: Path, config: Config, keypair: IdentityKeypair) -> None:
    now = datetime.now(UTC)
    authority = create_authority(config.cluster.name, now)
    (directory / "cluster.toml").write_text(_encode(config), encoding="utf-8")
    write_authority(directory / "ca", authority)
    for node in config.nodes:
        paths = NodePaths(directory / "nodes" / str(node.name))
        paths.data_dir.mkdir(mode=0o700, parents=True)
        write_node_tls(paths.tls_dir, authority, issue_certificate(authority, node.name, now))
        for service in config.services:
            write_key_directory(paths.key_dir(service.name), keypair)


def _encode(config: Config) -> str:
    """Write a cluster.toml. Checked values need no escapes but those of a quoted path."""
    lines = [
        "# The same file on every node; cluster.toml.example explains every key.",
        "",
        "[cluster]",
        f'name = "{config.cluster.name}"',
        f'profile = "{config.cluster.profile.value}"',
    ]
    for node in config.nodes:
        lines += ["", "[[node]]", f'name = "{node.name}"', f'address = "{node.address}"']
    for service in config.services:
        lines += ["", "[[service]]", f'name = "{service.name}"', f'address = "{service.address}"']
        lines.append(f"ports = [{', '.join(_quoted(str(port)) for port in service.ports)}]")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _explain(directory: Path, config: Config) -> None:
    """Say what was made and what to do with it."""
    (service,) = config.services
    rows = [
        ("cluster.toml", "the same file for every node"),
        ("ca/", "the certificate authority: whoever holds ca.key can add nodes"),
        *(
            (f"nodes/{node.name}/", f"certificate and master key of {node.name}")
            for node in config.nodes
        ),
    ]
    width = max(len(name) for name, _ in rows)
    copies = [
        f"  rsync -a --mkpath --chown=root:root {directory}/{source} root@{_host(node)}:{target}"
        for node in config.nodes
        for source, target in (
            (f"nodes/{node.name}/", f"{node.data_dir}/"),
            ("cluster.toml", DEFAULT_CONFIG),
        )
    ]
    lines = [
        f"{service.name} is {service.address}",
        "",
        f"Made in {directory}:",
        *(f"  {name:{width}}  {what}" for name, what in rows),
        "",
        "Next, bring each node what is its own:",
        *copies,
        "",
        "Start each with: rbcluster run --node NAME (README.md has a systemd unit for it)",
        "See how they are: rbcluster status",
        f"Then keep {directory} off-line in a safe place: it holds the only ca.key.",
    ]
    click.echo("\n".join(lines))


def _host(node: NodeConfig) -> str:
    """Write a node's host as rsync wants it: an IPv6 address in brackets."""
    host = node.address.host
    return f"[{host}]" if ":" in host else host
