"""Which options tor must run with, and what is wrong if it doesn't.

They must stand in torrc: a reload (Debian's logrotate sends one every day) reads torrc again and
forgets what SETCONF gave, and then every node would publish a descriptor of its own.

Not here: writing a torrc (`torrc.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from rbcluster.errors import TorOptionError
from rbcluster.tor.connection import ControlConnection, RequestRefused
from rbcluster.tor.settings import OB_CONFIG, ServiceSettings

Options = Sequence[tuple[str, str]]
"""What GETCONF says: (name in lower case, value), services in the order of torrc."""

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

    :returns: one sentence with its remedy for each fault; empty if all is well.
    """
    faults = []
    publish = dict(options).get("publishhidservdescriptors")
    if publish != "0":
        faults.append(
            f"PublishHidServDescriptors is {publish}: tor would publish over the cluster's "
            "descriptor; set it to 0 in torrc and restart tor"
        )
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
                "would be deaf for half of each time period; set it in torrc and restart tor"
            )
        faults += _find_ob_config_fault(service)
    return tuple(faults)


def find_unpublished(options: Options, services: Iterable[ServiceSettings]) -> tuple[str, ...]:
    """Name the onion services in this tor that nobody publishes.

    PublishHidServDescriptors holds for the whole tor, so services that are not the cluster's
    are silent too.

    :returns: one sentence for each.
    """
    ours = {os.path.realpath(service.directory) for service in services}
    return tuple(
        f"{directory} is in this tor but not in the cluster: with PublishHidServDescriptors 0 "
        "nobody publishes it; give it a tor of its own"
        for directory in _service_blocks(options)
        if directory not in ours
    )


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
    return [f"{path} does not name its own service; write {line!r} to it and restart tor"]
