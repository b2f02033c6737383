"""What the tor room is told, and what it tells: settings of a node's tor, and its status.

Not here: how they are read from cluster.toml (`config.py`).

Overview::

    TorMode           who runs tor: rbcluster (managed) or somebody else (system)
    Identity          whose onion key it serves with
    ControlEndpoint   where a control port listens
    ServiceSettings   one onion service of this node
    TorSettings       the node's tor
    TorStatus         what an operator must know of it now
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from rbcluster.hs.address import OnionAddress

ControlEndpoint = Path | tuple[str, int]
"""A Unix socket's path, or a (host, port) pair."""

OB_CONFIG = "ob_config"  # tor's fixed name for this file in a service's directory


class TorMode(Enum):
    """Who runs the node's tor."""

    MANAGED = "managed"  # rbcluster starts it and keeps it running
    SYSTEM = "system"  # it is there already; rbcluster only talks to its control port


class Identity(Enum):
    """Whose onion key a tor serves with. One tor never mixes the two: docs/identity.md."""

    SHARED = "shared"  # the cluster's: tor publishes nothing, rbcluster does it for all
    INSTANCE = "instance"  # its own: tor publishes that, and rbcluster what it is merged into

    @property
    def publishes(self) -> str:
        """The value of PublishHidServDescriptors, which holds for a whole tor."""
        return "1" if self is Identity.INSTANCE else "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """One onion service, as this node's tor serves it."""

    address: OnionAddress  # the cluster's: what visitors ask for
    directory: Path  # HiddenServiceDir: key files, hostname, ob_config
    ports: tuple[str, ...] = ()  # values of HiddenServicePort, "80 127.0.0.1:8080"; managed only
    identity: Identity = Identity.SHARED  # of all services of one tor

    @property
    def ob_config(self) -> str:
        """The `ob_config` that lets any node answer for a merged descriptor.

        Tor then tries the subcredentials of three periods for an introduction; without it, a
        shared identity is deaf from 12 to 24 UTC, and one of its own always.
        """
        return f"MasterOnionAddress {self.address.label}.onion\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorSettings:
    """How to run, or reach, the node's tor.

    :raises ValueError: if a system tor has no control endpoint, or a managed one has one.
    """

    mode: TorMode
    tor_dir: Path  # where a managed tor keeps torrc, state, log, control socket and pid file
    control: ControlEndpoint | None = None  # system only; a managed tor has a socket of its own
    password: str | None = field(default=None, repr=False)  # for HashedControlPassword
    extra_lines: tuple[str, ...] = ()  # for a managed torrc, before the services
    binary: str = "tor"  # managed only: a name on PATH or a path

    def __post_init__(self) -> None:
        if (self.mode is TorMode.SYSTEM) is (self.control is None):
            raise ValueError("a control endpoint goes with a system tor, and only with it")

    @property
    def control_socket(self) -> Path:
        """The control socket of a managed tor."""
        return self.tor_dir / "control"

    @property
    def endpoint(self) -> ControlEndpoint:
        """Where tor's control port listens."""
        return self.control_socket if self.control is None else self.control


@dataclass(frozen=True, slots=True, kw_only=True)
class TorStatus:
    """The node's tor at this moment."""

    connected: bool = False  # authenticated, and answering
    version: str | None = None  # of the tor last spoken to
    bootstrapped: int = 0  # percent, 0..100
    faults: tuple[str, ...] = ()  # sentences; while there is one, the node has nothing to offer
    warnings: tuple[str, ...] = ()  # sentences about one service, or about the consensus

    @property
    def is_usable(self) -> bool:
        """Whether introduction points of this tor count and descriptors may go through it."""
        return self.connected and not self.faults
