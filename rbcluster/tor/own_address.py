"""Under which onion address this node's tor itself serves a service.

With a shared identity it is the cluster's. An instance has a key of its own: tor makes it when it
first starts, and writes the address that follows from it beside the key.

Not here: tor's options (`options.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rbcluster.errors import ParseError, TorOptionError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress
from rbcluster.tor.key_directory import HOSTNAME_NAME
from rbcluster.tor.settings import Identity, ServiceSettings

OwnAddresses = Mapping[OnionAddress, OnionAddress]
"""The node's own address of each service, by the cluster's."""


def find_own_addresses(
    services: Iterable[ServiceSettings],
) -> tuple[OwnAddresses, tuple[str, ...]]:
    """Find the own address of each service that has one, and say why another has none.

    :returns: the addresses; a sentence with its remedy for each service that is left out.
    """
    found: dict[OnionAddress, OnionAddress] = {}
    faults: list[str] = []
    for service in services:
        try:
            found[service.address] = _own_address(service)
        except TorOptionError as error:
            faults.append(str(error))
    return found, tuple(faults)


def _own_address(service: ServiceSettings) -> OnionAddress:
    if service.identity is Identity.SHARED:
        return service.address
    path = service.directory / HOSTNAME_NAME
    own = _read_hostname(path)
    if own == service.address:
        raise TorOptionError(
            f'{path} is the cluster\'s own address, but identity is "instance": this tor would '
            "publish over the cluster's descriptor; move the key files in that directory away, "
            "so that tor makes a key of this node's own, and restart tor"
        )
    return own


def _read_hostname(path: Path) -> OnionAddress:
    try:
        return OnionAddress.parse(path.read_text("ascii"))
    except OSError as error:
        remedy = remedy_for(error, missing="check hidden_service_dir: tor writes it as it starts")
        raise TorOptionError(
            f"{path} can't be read ({error.strerror}), so it is not known under which address "
            f"this node serves: {remedy}"
        ) from error
    except (ParseError, UnicodeDecodeError) as error:
        raise TorOptionError(
            f"{path} holds no onion address: restart tor, which writes it anew"
        ) from error
