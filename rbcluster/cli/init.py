"""`rbcluster init`: all that a new cluster needs, in one folder.

::

    DIR/cluster.toml        the same file for every node
    DIR/ca/                 ca.crt, ca.key: who holds the key can add nodes; keep it off-line
    DIR/nodes/NODE/         what becomes that node's data directory
        tls/                ca.crt, node.crt, node.key
        services/SERVICE/   the master key, in tor's form

The folder appears as a whole or not at all, and nothing is ever written over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from rbcluster.cli.key import new_keypair
from rbcluster.cli.options import DEFAULT_CONFIG
from rbcluster.config import DEFAULT_DATA_DIR, Config, NodeConfig, NodePaths, Profile, parse_config
from rbcluster.config_text import encode_config
from rbcluster.core.ids import ID_BYTES
from rbcluster.errors import ConfigError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.pki import create_authority, issue_certificate, write_authority, write_node_tls
from rbcluster.tor.key_directory import import_secret_key, write_key_directory

_USER = "rbcluster"  # the daemon's, and its tor's; README.md has it too
_MAKE_USER = (
    f"useradd --system --user-group --home-dir {DEFAULT_DATA_DIR} --shell /usr/sbin/nologin {_USER}"
)


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
@click.option(
    "--service",
    "services",
    metavar="NAME[=KEYFILE]",
    multiple=True,
    default=["web"],
    show_default=True,
    help="Your name for a service, and its master key to import; once for each service.",
)
@click.option(
    "--port",
    "ports",
    metavar="[NAME=]PORT",
    multiple=True,
    default=["80 127.0.0.1:8080"],
    show_default=True,
    help="Where visitors are led, as tor's HiddenServicePort; may be repeated. With NAME= it is "
    "that service's; without, it is for each service that has none of its own.",
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
    help="The same as KEYFILE, where there is one service: tor's hs_ed25519_secret_key, a 64-byte "
    "expanded key or a 32-byte seed. Without either, a new key is made.",
)
def init(
    *,
    directory: Path,
    name: str,
    nodes: tuple[str, ...],
    services: tuple[str, ...],
    ports: tuple[str, ...],
    profile: str,
    key_file: Path | None,
) -> None:
    """Make certificates, keys and a cluster.toml for a new cluster, in the new folder DIR."""
    named = [_split_service(service) for service in services]
    if key_file is not None:
        named = [_with_key_file(named, key_file)]
    own_ports = _split_ports(ports, [service.name for service in named])
    imported = [import_secret_key(s.key_file) if s.key_file else None for s in named]
    keypairs = [key.keypair if key else new_keypair() for key in imported]
    config = parse_config(
        {
            "cluster": {"name": name, "id": os.urandom(ID_BYTES).hex(), "profile": profile},
            "node": [_split_node(node) for node in nodes],
            "service": [
                {
                    "name": service.name,
                    "address": str(OnionAddress(keypair.public)),
                    "ports": own_ports[service.name],
                }
                for service, keypair in zip(named, keypairs, strict=True)
            ],
        },
        base=directory.absolute(),
        source="init",
    )
    _write_whole(directory, config, {OnionAddress(keypair.public): keypair for keypair in keypairs})
    for service, keypair, key in zip(named, keypairs, imported, strict=True):
        origin = f"read from {service.key_file}, {key.form.value}" if key else "a new key"
        click.echo(f"{service.name} is {OnionAddress(keypair.public)} ({origin})")
    _explain(directory, config)


@dataclass(frozen=True, slots=True)
class _NamedService:
    """A service as an option names it; None: a new key is made."""

    name: str
    key_file: Path | None


def _split_service(text: str) -> _NamedService:
    """Read ``NAME`` or ``NAME=KEYFILE``."""
    name, equals, file = text.partition("=")
    if equals and not file:
        raise ConfigError(
            f"--service {text!r} names no key file: write {name}=FILE to import a key, or {name} "
            "for a new one"
        )
    return _NamedService(name, Path(file) if file else None)


def _with_key_file(services: list[_NamedService], key_file: Path) -> _NamedService:
    """Give the only service the key of ``--key``."""
    if len(services) > 1 or services[0].key_file:
        raise ConfigError(
            f"--key {key_file} does not say of which service it is: "
            f"write --service {services[0].name}={key_file} instead"
        )
    return _NamedService(services[0].name, key_file)


def _split_ports(ports: tuple[str, ...], services: list[str]) -> dict[str, list[str]]:
    """Sort ``PORT`` and ``NAME=PORT`` by service; no PORT has an ``=`` before its first space."""
    common: list[str] = []
    own: dict[str, list[str]] = {name: [] for name in services}
    for text in ports:
        name, equals, port = text.partition("=")
        if not equals or " " in name:
            common.append(text)
        elif name in own:
            own[name].append(port)
        else:
            known = ", ".join(services)
            raise ConfigError(f"--port {text!r}: no --service is called {name!r}: there is {known}")
    return {name: found or common for name, found in own.items()}


def _split_node(text: str) -> dict[str, str]:
    """Read ``NAME=HOST:PORT``; whether each is right is for the rules of cluster.toml to say."""
    name, equals, address = text.partition("=")
    if not equals:
        raise ConfigError(f"--node {text!r} is no NAME=HOST:PORT: write it as a=192.0.2.1:7300")
    return {"name": name, "address": address}


_Keypairs = Mapping[OnionAddress, IdentityKeypair]


def _write_whole(directory: Path, config: Config, keypairs: _Keypairs) -> None:
    """Write everything beside the folder, then put it in place in one step.

    :raises ConfigError: if the folder exists and is not empty, or can't be written.
    """
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigError(f"{directory} exists: nothing is written over, name a new folder")
        directory.absolute().parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=directory.absolute().parent, prefix=".rbcluster-init-"))
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


def _explain(directory: Path, config: Config) -> None:
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
