"""Which options tor must run with, and what is wrong if it doesn't.

They must stand in torrc: a reload (Debian's logrotate sends one every day) reads torrc again and
forgets what SETCONF gave. PublishHidServDescriptors holds for a whole tor, so all its services must
be of one identity: with a shared one tor has to be silent, an instance must be published by it.

Not here: writing a torrc (`torrc.py`); the keys that tor serves with (`own_address.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from rbcluster.errors import TorOptionError
from rbcluster.tor.connection import ControlConnection, RequestRefused
from rbcluster.tor.settings import OB_CONFIG, Identity, ServiceSettings

Options = Sequence[tuple[str, str]]
"""What GETCONF says: (name in lower case, value), services in the order of torrc."""

_MISPUBLISHED = {
    Identity.SHARED: "tor would publish over the cluster's descriptor",
    Identity.INSTANCE: 'with identity "instance" tor must publish the keys of its own, and no '
    "service of a shared identity may be in it",
}
_DEAF = {Identity.SHARED: "for half of each time period", Identity.INSTANCE: "at all times"}
_KEYS = ("PublishHidServDescriptors", "TestingTorNetwork", "HiddenServiceOptions")


async def read_options(connection: ControlConnection) -> Options:
    """Ask tor for the options that matter.

    :raises TorOptionError: if this tor doesn't know one of them.
    :raises ControlPortError: if it doesn't answer.
    """
    try:
        return await connection.getconf(*_KEYS)
    except RequestRefused as error:
        raise TorOptionError(
            f"{connection.name} lacks an option that rbcluster needs ({error.text}); "
            "install a tor with onion services, version 0.4.6 or newer"
        ) from error


def is_testing_network(options: Options) -> bool:
    """Tell whether tor counts time periods as in a testing network."""
    return ("testingtornetwork", "1") in options


def find_faults(options: Options, services: Iterable[ServiceSettings]) -> tuple[str, ...]:
    """Compare tor's options, and each ob_config, with what the services need.

    :param services: of one identity.
    :returns: one sentence with its remedy for each fault; empty if all is well.
    """
    services = tuple(services)
    faults = _find_publish_fault(options, services)
    configured = _service_blocks(options)
    for service in services:
        block = configured.get(os.path.realpath(service.directory))
        if block is None:
            faults.append(
                f"tor has no HiddenServiceDir {service.directory}; add it to torrc with "
                "HiddenServiceOnionbalanceInstance 1 and restart tor"
            )
            continue
        if block.get("hiddenserviceonionbalanceinstance") != "1":
            faults.append(
                f"HiddenServiceOnionbalanceInstance is not 1 for {service.directory}: the service "
                f"would be deaf {_DEAF[service.identity]}; set it in torrc and restart tor"
            )
        faults += _find_ob_config_fault(service)
    return tuple(faults)


def find_unpublished(options: Options, services: Iterable[ServiceSettings]) -> tuple[str, ...]:
    """Name the onion services in this tor that nobody publishes.

    PublishHidServDescriptors holds for the whole tor, so services that are not the cluster's
    are silent too. A tor of instances publishes them all.

    :param services: of one identity.
    :returns: one sentence for each.
    """
    services = tuple(services)
    if any(service.identity is Identity.INSTANCE for service in services):
        return ()
    ours = {os.path.realpath(service.directory) for service in services}
    return tuple(
        f"{directory} is in this tor but not in the cluster: with PublishHidServDescriptors 0 "
        "nobody publishes it; give it a tor of its own"
        for directory in _service_blocks(options)
        if directory not in ours
    )


def _find_publish_fault(options: Options, services: Sequence[ServiceSettings]) -> list[str]:
    found = dict(options).get("publishhidservdescriptors")
    if not services or found == (wanted := services[0].identity.publishes):
        return []
    why = _MISPUBLISHED[services[0].identity]
    return [
        f"PublishHidServDescriptors is {found}: {why}; set it to {wanted} in torrc and restart tor"
    ]


def _service_blocks(options: Options) -> Mapping[str, Mapping[str, str]]:
    """Group HiddenService options by directory, as torrc does by order."""
    blocks: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    for name, value in options:
        if name == "hiddenservicedir":
            block = blocks.setdefault(os.path.realpath(value), {})
        elif name.startswith("hiddenservice"):
            block[name] = value
    return blocks


def _find_ob_config_fault(service: ServiceSettings) -> list[str]:
    """Check the file that tor read at its start; what this user may not read is left unchecked."""
    path = service.directory / OB_CONFIG
    wanted = service.ob_config.split()
    try:
        found = [line.split() for line in path.read_text("utf-8", "replace").splitlines()]
    except FileNotFoundError:
        found = []
    except OSError:
        return []
    if wanted in found:
        return []
    line = " ".join(wanted)
    return [f"{path} does not name the cluster's address; write {line!r} to it and restart tor"]
