"""`rbcluster import-onionbalance`: a cluster that takes over what Onionbalance publishes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from rbcluster.cli.new_cluster import explain_new_cluster, split_node, write_new_cluster
from rbcluster.config import Profile, parse_config
from rbcluster.core.ids import ID_BYTES
from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.params import MAX_INTRO_POINTS
from rbcluster.onionbalance import BalancedService, OnionbalanceConfig, read_onionbalance
from rbcluster.tor.key_directory import import_secret_key
from rbcluster.tor.settings import Identity

_POINTS_EACH = 3  # that a tor has by default, of which Onionbalance takes two


@click.command(
    "import-onionbalance", short_help="Make a cluster from an Onionbalance configuration."
)
@click.argument("source", metavar="CONFIG.YAML", type=click.Path(path_type=Path))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The cluster's name: a-z, 0-9 and inner hyphens.")
@click.option(
    "--node",
    "nodes",
    metavar="NAME=HOST:PORT",
    required=True,
    multiple=True,
    help="A node that is to publish, and where its peers reach it; once for each node.",
)
@click.option(
    "--service",
    "names",
    metavar="NAME",
    multiple=True,
    help="Your names for the services, in the order of CONFIG.YAML [service1, service2, ...].",
)
@click.option(
    "--profile",
    type=click.Choice([profile.value for profile in Profile]),
    default=Profile.LAN.value,
    show_default=True,
    help="How far apart the nodes are.",
)
def import_onionbalance(
    *,
    source: Path,
    directory: Path,
    name: str,
    nodes: tuple[str, ...],
    names: tuple[str, ...],
    profile: str,
) -> None:
    """Make certificates, keys and a cluster.toml that take over what Onionbalance publishes.

    Keys are copied, backends stay as they are; CONFIG.YAML and all it names are only read. What
    rbcluster does otherwise is said at the end.
    """
    found = read_onionbalance(source)
    names = names or tuple(f"service{number + 1}" for number in range(len(found.services)))
    if len(names) != len(found.services):
        raise ConfigError(
            f"{source} has {len(found.services)} services, but --service names {len(names)}: "
            "name each of them, in its order, or none"
        )
    keys = [import_secret_key(service.key_file) for service in found.services]
    addresses = [OnionAddress(key.keypair.public) for key in keys]
    config = parse_config(
        {
            "cluster": {
                "name": name,
                "id": os.urandom(ID_BYTES).hex(),
                "profile": profile,
                "identity": Identity.INSTANCE.value,
            },
            "node": [split_node(node) for node in nodes],
            "service": [
                {
                    "name": label,
                    "address": str(address),
                    "backend": [{"address": str(backend)} for backend in service.backends],
                }
                for label, address, service in zip(names, addresses, found.services, strict=True)
            ],
        },
        base=directory.absolute(),
        source="import-onionbalance",
    )
    write_new_cluster(
        directory, config, dict(zip(addresses, (key.keypair for key in keys), strict=True))
    )
    for label, address, service, key in zip(names, addresses, found.services, keys, strict=True):
        backends = f"{len(service.backends)} backend{'s' * (len(service.backends) != 1)}"
        click.echo(f"{label} is {address} ({key.form.value}), with {backends}")
    explain_new_cluster(directory, config)
    click.echo("\n".join(["", "What differs from Onionbalance:", *_differences(found)]))


_DIFFERENCES = f"""\
  - Backends stay as they are; their ob_config names the same address.
  - All points of every backend are shown, one for each relay and at most {MAX_INTRO_POINTS};
    Onionbalance shows two of each backend.
  - A backend is looked for every [publish] fetch_every (120 s; Onionbalance: 600 s), and taken off
    when it has published nothing newer for stale_after (150 min).
  - A backend on which rbcluster runs too is noticed at once when it dies: make it a node, with
    ports, tor.mode = "system" and hidden_service_dir, and leave out its [[service.backend]]
    (docs/identity.md).
  - Only one of the two may publish: start rbcluster, see in `rbcluster status` that the services
    are published, and stop Onionbalance at once. rbcluster's revisions begin above those that
    HSDirs hold."""


def _differences(found: OnionbalanceConfig) -> Iterator[str]:
    """Say what will be otherwise, and what to do about it."""
    yield _DIFFERENCES
    for service in filter(_is_crowded, found.services):
        yield (
            f"  - The {len(service.backends)} backends of a service have more than "
            f"{MAX_INTRO_POINTS} points between them: some of each are left out, fairly."
        )
    for place in found.unused:
        yield f"  - {place} has no meaning here and is left out."


def _is_crowded(service: BalancedService) -> bool:
    return _POINTS_EACH * len(service.backends) > MAX_INTRO_POINTS
