"""`rbcluster init`: all that a new cluster needs, in one folder (`new_cluster.py`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from rbcluster.cli.key import new_keypair
from rbcluster.cli.new_cluster import explain_new_cluster, split_node, write_new_cluster
from rbcluster.config import Profile, parse_config
from rbcluster.core.ids import ID_BYTES
from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.tor.key_directory import import_secret_key


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
    "expanded key, a 32-byte seed, or PEM. Without either, a new key is made.",
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
            "node": [split_node(node) for node in nodes],
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
    write_new_cluster(
        directory, config, {OnionAddress(keypair.public): keypair for keypair in keypairs}
    )
    for service, keypair, key in zip(named, keypairs, imported, strict=True):
        origin = f"read from {service.key_file}, {key.form.value}" if key else "a new key"
        click.echo(f"{service.name} is {OnionAddress(keypair.public)} ({origin})")
    explain_new_cluster(directory, config)


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
