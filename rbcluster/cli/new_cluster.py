"""All that a new cluster needs, in one folder: written whole, and explained to who made it.

::

    DIR/cluster.toml        the same file for every node
    DIR/ca/                 ca.crt, ca.key: who holds the key can add nodes; keep it off-line
    DIR/nodes/NODE/         what becomes that node's data directory
        tls/                ca.crt, node.crt, node.key
        services/SERVICE/   the master key, in tor's form

The folder appears as a whole or not at all, and nothing is ever written over.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from rbcluster.cli.options import DEFAULT_CONFIG
from rbcluster.config import DEFAULT_DATA_DIR, Config, NodeConfig, NodePaths
from rbcluster.config_text import encode_config
from rbcluster.errors import ConfigError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.pki import create_authority, issue_certificate, write_authority, write_node_tls
from rbcluster.tor.key_directory import write_key_directory

_USER = "rbcluster"  # the daemon's, and its tor's; README.md has it too
_MAKE_USER = (
    f"useradd --system --user-group --home-dir {DEFAULT_DATA_DIR} --shell /usr/sbin/nologin {_USER}"
)


def split_node(text: str) -> dict[str, str]:
    """Read ``NAME=HOST:PORT``; whether each is right is for the rules of cluster.toml to say."""
    name, equals, address = text.partition("=")
    if not equals:
        raise ConfigError(f"--node {text!r} is no NAME=HOST:PORT: write it as a=192.0.2.1:7300")
    return {"name": name, "address": address}


_Keypairs = Mapping[OnionAddress, IdentityKeypair]


def write_new_cluster(directory: Path, config: Config, keypairs: _Keypairs) -> None:
    """Write everything beside the folder, then put it in place in one step.

    :raises ConfigError: if the folder exists and is not empty, or can't be written.
    """
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(f"{directory} exists: nothing is written over, name a new folder")
        directory.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=directory.absolute().parent, prefix=".rbcluster-new-"))
        try:
            _write(draft, config, keypairs)
            draft.rename(directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ConfigError(
            f"the new folder {directory} can't be made ({error.strerror}): {remedy_for(error)}"
        ) from error


def _write(directory: Path, config: Config, keypairs: _Keypairs) -> None:
    now = datetime.now(UTC)
    authority = create_authority(config.cluster.name, now)
    (directory / "cluster.toml").write_text(encode_config(config), encoding="utf-8")
    write_authority(directory / "ca", authority)
    for node in config.nodes:
        paths = NodePaths(directory / "nodes" / str(node.name))
        paths.data_dir.mkdir(mode=0o700, parents=True)
        write_node_tls(paths.tls_dir, authority, issue_certificate(authority, node.name, now))
        for service in config.services:
            write_key_directory(paths.key_dir(service.name), keypairs[service.address])


def explain_new_cluster(directory: Path, config: Config) -> None:
    """Say what was made and what to do with it."""
    keys = "master key" if len(config.services) == 1 else "master keys"
    rows = [
        ("cluster.toml", "the same file for every node"),
        ("ca/", "the certificate authority: whoever holds ca.key can add nodes"),
        *(
            (f"nodes/{node.name}/", f"certificate and {keys} of {node.name}")
            for node in config.nodes
        ),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [
        "",
        f"Made in {directory}:",
        *(f"  {name:{width}}  {what}" for name, what in rows),
        "",
        "Next, give rbcluster a user of its own on each node:",
        f"  {_MAKE_USER}",
        "",
        "Then bring each node what is its own:",
        *_copies(directory, config),
        "",
        "Start each as that user, with the systemd unit in README.md, or by hand:",
        f"  runuser -u {_USER} -- rbcluster run --node NAME",
        "",
        "See how they are: rbcluster status",
        f"At last keep {directory} off-line in a safe place: it holds the only ca.key.",
        "New nodes later: docs/membership.md.",
    ]
    click.echo("\n".join(lines))


def _copies(directory: Path, config: Config) -> list[str]:
    """List the commands that bring each node what is its own, in the hands of its user."""
    return [
        f"  rsync -a --mkpath {access} {directory}/{source} root@{_host(node)}:{target}"
        for node in config.nodes
        for source, target, access in (
            (f"nodes/{node.name}/", f"{node.data_dir}/", f"--chown={_USER}:{_USER}"),
            ("cluster.toml", DEFAULT_CONFIG, f"--chown=root:{_USER} --chmod=F640"),
        )
    ]


def _host(node: NodeConfig) -> str:
    """Write a node's host as rsync wants it: an IPv6 address in brackets."""
    host = node.address.host
    return f"[{host}]" if ":" in host else host
