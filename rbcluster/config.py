"""cluster.toml: one file, the same on every node, as typed and checked values.

Not here: what the cluster has agreed on (`core/state.py`). The file only seeds that; afterwards
differences are shown, not applied. Not here either: reading keys (`tor/key_directory.py`) or
certificates (`pki.py`).

Overview::

    load_config(path) -> Config
      |- cluster: ClusterConfig     [cluster]    name, id, profile, fsync, identity
      |- nodes: NodeConfig, ...     [[node]]     name, address, role, data_dir, ...
      |- services: ServiceConfig, ..[[service]]  name, address, ports, backend, ...
      |- publish: PublishConfig     [publish]    -> core.state.Policy
      |- tor: TorConfig             [tor]        mode, control, password_file, binary, extra
      +- transport: TransportConfig [transport]  via
    resolve_node(...) -> NodeId     which of the nodes this machine is
    NodePaths(data_dir)             where everything of one node lies

All faults of a file are reported together, a line each: file, key path (lists count from 0), what
was found, the rule.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from rbcluster.config_faults import describe, relation_faults
from rbcluster.core.codec import MAX_SERVICES
from rbcluster.core.ids import ID_BYTES, UNDRAWN_CLUSTER_ID, ClusterId, NodeId
from rbcluster.core.state import Policy, Role
from rbcluster.endpoint import HostPort, OnionPort, parse_socket_path
from rbcluster.errors import ConfigError, ParseError
from rbcluster.file_remedy import remedy_for
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.params import MAX_INTRO_POINTS
from rbcluster.tor.settings import ControlEndpoint, Identity, TorMode

DEFAULT_DATA_DIR = Path("/var/lib/rbcluster")
NODE_VARIABLE = "RBCLUSTER_NODE"

_POLICY = Policy()  # the defaults, stated once
_MEND_TOML = "mend it after cluster.toml.example"
_SYSTEM_CONTROL = Path("/run/tor/control")  # where Debian's tor listens


# How values of cluster.toml become typed ones. Each rule names what it found.


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text: put it in quotes")  # noqa: TRY004 - for pydantic
    return value


def _node_id(value: object) -> NodeId:
    return NodeId(_text(value))


def _cluster_id(value: object) -> ClusterId:
    try:
        return ClusterId(bytes.fromhex(_text(value)))
    except ValueError as error:
        rule = f"{value!r} is no cluster id: keep the {2 * ID_BYTES} hex digits `init` drew"
        raise ValueError(rule) from error


def _label(value: object) -> str:
    """Names of services and clusters obey the rule for nodes: they become paths and labels too."""
    try:
        return NodeId(_text(value)).name
    except ValueError as error:
        raise ValueError(str(error).replace("no node name", "no name")) from error


def _onion_address(value: object) -> OnionAddress:
    try:
        return OnionAddress.parse(_text(value))
    except ParseError as error:
        raise ValueError(str(error)) from error


def _listen(value: object) -> HostPort:
    return HostPort.parse(_text(value))


def _via(value: object) -> HostPort:
    text = _text(value)
    if not text.startswith(scheme := "socks5://"):
        raise ValueError(f"{text!r} is no proxy: write socks5://127.0.0.1:9150")
    return HostPort.parse(text.removeprefix(scheme))


def _control(value: object) -> Path | HostPort:
    text = _text(value)
    return parse_socket_path(text) if text.startswith("unix:") else HostPort.parse(text)


def _anchored(path: Path, info: ValidationInfo) -> Path:
    """Relative paths start where cluster.toml lies, so that no command depends on its own place."""
    return cast("Path", info.context["base"]) / path if info.context else path


def _torrc_line(line: str) -> str:
    if not line.strip() or not line.isprintable():
        raise ValueError("an entry is one line of torrc, neither empty nor with a line break")
    return line.strip()


def _some(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("there is none: give at least one")
    return values


def _not_too_many(services: tuple[object, ...]) -> tuple[object, ...]:
    if len(services) > MAX_SERVICES:  # else the cluster could not be founded
        raise ValueError(f"there are {len(services)}: a cluster serves at most {MAX_SERVICES}")
    return services


Label = Annotated[str, PlainValidator(_label)]
AnchoredPath = Annotated[Path, AfterValidator(_anchored)]
OnionPorts = Annotated[
    tuple[Annotated[OnionPort, PlainValidator(lambda v: OnionPort.parse(_text(v)))], ...],
    AfterValidator(_some),
]
WholeNumber = Annotated[int, Field(strict=True, ge=1)]
Span = Annotated[float, Field(strict=True, ge=0, le=86_400, allow_inf_nan=False)]
Duration = Annotated[Span, Field(ge=0.001)]


class _Table(BaseModel):
    """One table of cluster.toml: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Profile(Enum):
    """How far apart the nodes are: Raft's time-outs follow from it."""

    LAN = "lan"
    WAN = "wan"
    ONION = "onion"


class ClusterConfig(_Table):
    """``[cluster]``."""

    name: Label
    id: Annotated[ClusterId, PlainValidator(_cluster_id)] = UNDRAWN_CLUSTER_ID  # `init` draws one
    profile: Profile = Profile.LAN
    fsync: bool = Field(strict=True, default=True)  # False: a power loss may undo what was agreed
    founder: Annotated[NodeId | None, PlainValidator(_node_id)] = None  # None: first voter by name
    identity: Identity = Identity.SHARED  # whose onion keys the nodes' tors serve with


class TransportConfig(_Table):
    """``[transport]``: how the nodes reach each other."""

    via: Annotated[HostPort | None, PlainValidator(_via)] = None  # a SOCKS 5 proxy; None: directly


class TorConfig(_Table):
    """``[tor]``, or the same keys in a node's own ``tor`` table, which go before it."""

    mode: TorMode = TorMode.MANAGED
    control: Annotated[Path | HostPort, PlainValidator(_control)] = _SYSTEM_CONTROL  # system only
    password_file: AnchoredPath | None = None  # system only; None: cookie, or no authentication
    binary: Annotated[str, Field(min_length=1)] = "tor"  # managed only; a name in PATH, or a path
    extra: tuple[Annotated[str, AfterValidator(_torrc_line)], ...] = ()  # managed only; torrc

    @property
    def control_endpoint(self) -> ControlEndpoint:
        """Where a system tor's control port listens."""
        if isinstance(self.control, Path):
            return self.control
        return (self.control.host, self.control.port)

    def read_password(self) -> str | None:
        """Read the control port's password, if there is a file of it.

        :raises ConfigError: if it can't be read, or trusted, or is no single line.
        """
        if (path := self.password_file) is None:
            return None
        try:
            if path.stat().st_mode & 0o007:  # a group of their own for rbcluster and tor is fine
                raise ConfigError(f"{path}: everyone can read or write it: chmod o= {path}")
            password = path.read_text(encoding="utf-8").removesuffix("\n")
        except OSError as error:
            remedy = remedy_for(error, missing="check tor.password_file")
            raise ConfigError(f"{path}: can't be read: {error.strerror}: {remedy}") from error
        except UnicodeDecodeError:
            password = ""  # refused below; the error would quote bytes of it
        if not password or not password.isprintable():
            raise ConfigError(f"{path}: holds no password: write it as one line of text")
        return password

    def overridden_by(self, other: TorConfig) -> TorConfig:
        """Return these settings, with those that `other` states itself in their place."""
        return self.model_copy(update={key: getattr(other, key) for key in other.model_fields_set})


class NodeConfig(_Table):
    """One ``[[node]]``."""

    name: Annotated[NodeId, PlainValidator(_node_id)]
    address: Annotated[HostPort, PlainValidator(lambda v: HostPort.parse(_text(v)))]
    listen: Annotated[HostPort | None, PlainValidator(_listen)] = None  # None: on its address
    data_dir: AnchoredPath = DEFAULT_DATA_DIR
    issuer: Annotated[bool, Field(strict=True)] = False  # is to hold the authority's key
    weight: WholeNumber = 1
    role: Role = Role.VOTER
    tor: TorConfig = TorConfig()
    ports: Mapping[Label, OnionPorts] = Field(
        default_factory=dict
    )  # by service, in place of its own

    @property
    def paths(self) -> NodePaths:
        """Where everything of this node lies."""
        return NodePaths(self.data_dir)


class BackendConfig(_Table):
    """One ``[[service.backend]]``: an onion service without rbcluster that answers as well."""

    address: Annotated[OnionAddress, PlainValidator(_onion_address)]


class ServiceConfig(_Table):
    """One ``[[service]]``."""

    name: Label
    address: Annotated[OnionAddress, PlainValidator(_onion_address)]
    ports: OnionPorts = ()  # none: the nodes do not serve it, its backends do
    backends: tuple[BackendConfig, ...] = Field(default=(), alias="backend")
    hidden_service_dir: AnchoredPath | None = None  # of a system tor
    identity: Identity | None = None  # None: the cluster's; all services must come to the same


class PublishConfig(_Table):
    """``[publish]``: what decisions read. Replicated once the cluster is founded."""

    max_intro_points: Annotated[WholeNumber, Field(le=MAX_INTRO_POINTS)] = _POLICY.max_intro_points
    withdraw_after: Duration = _POLICY.withdraw_after_ms / 1000  # seconds
    settle: Span = _POLICY.settle_ms / 1000  # seconds
    refresh_min: Duration = _POLICY.refresh_min_ms / 60_000  # minutes
    refresh_max: Annotated[Duration, Field(validate_default=True)] = (
        _POLICY.refresh_max_ms / 60_000
    )  # minutes
    upload_burst: WholeNumber = _POLICY.upload_burst
    upload_every: Duration = _POLICY.upload_every_ms / 1000  # seconds
    fetch_every: Duration = _POLICY.fetch_every_ms / 1000  # seconds
    stale_after: Duration = _POLICY.stale_after_ms / 60_000  # minutes

    @field_validator("refresh_max")
    @classmethod
    def _above_refresh_min(cls, value: float, info: ValidationInfo) -> float:
        if value < (minimum := info.data.get("refresh_min", 0)):
            raise ValueError(f"{value:g} is below refresh_min {minimum:g}: swap or change them")
        return value

    def to_policy(self, shuffle_seed: bytes) -> Policy:
        """Return the replicated form.

        :param shuffle_seed: 32 random bytes of the founder's, public.
        """
        return Policy(
            max_intro_points=self.max_intro_points,
            withdraw_after_ms=round(self.withdraw_after * 1000),
            settle_ms=round(self.settle * 1000),
            refresh_min_ms=round(self.refresh_min * 60_000),
            refresh_max_ms=round(self.refresh_max * 60_000),
            upload_burst=self.upload_burst,
            upload_every_ms=round(self.upload_every * 1000),
            fetch_every_ms=round(self.fetch_every * 1000),
            stale_after_ms=round(self.stale_after * 60_000),
            shuffle_seed=shuffle_seed,
        )

    @classmethod
    def from_policy(cls, policy: Policy) -> PublishConfig:
        """Return a replicated policy in the words of cluster.toml."""
        return cls(
            max_intro_points=policy.max_intro_points,
            withdraw_after=policy.withdraw_after_ms / 1000,
            settle=policy.settle_ms / 1000,
            refresh_min=policy.refresh_min_ms / 60_000,
            refresh_max=policy.refresh_max_ms / 60_000,
            upload_burst=policy.upload_burst,
            upload_every=policy.upload_every_ms / 1000,
            fetch_every=policy.fetch_every_ms / 1000,
            stale_after=policy.stale_after_ms / 60_000,
        )


class Config(_Table):
    """A whole cluster.toml, every rule of it kept. Made by `load_config` or `parse_config`."""

    cluster: ClusterConfig
    nodes: Annotated[tuple[NodeConfig, ...], AfterValidator(_some)] = Field(alias="node")
    services: Annotated[
        tuple[ServiceConfig, ...], AfterValidator(_some), AfterValidator(_not_too_many)
    ] = Field(alias="service")
    publish: PublishConfig = PublishConfig()
    tor: TorConfig = TorConfig()
    transport: TransportConfig = TransportConfig()

    def node(self, name: NodeId) -> NodeConfig:
        """Find a node.

        :raises ConfigError: if there is none of that name; the text lists those there are.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(str(node.name) for node in self.nodes)
        raise ConfigError(f"cluster.toml has no node {str(name)!r}: its nodes are {known}")

    @property
    def voters(self) -> frozenset[NodeId]:
        """Those named as voters; never empty."""
        return frozenset(node.name for node in self.nodes if node.role is Role.VOTER)

    def tor_of(self, name: NodeId) -> TorConfig:
        """Return ``[tor]`` with what the node overrides.

        :raises ConfigError: if there is no such node.
        """
        return self.tor.overridden_by(self.node(name).tor)

    @property
    def identity(self) -> Identity:
        """Whose onion keys the nodes' tors serve with: of all services the same."""
        return self.services[0].identity or self.cluster.identity

    def needs_no_master_key(self, name: NodeId) -> bool:
        """Tell whether a node never publishes, and serves under keys of its own.

        :raises ConfigError: if there is no such node.
        """
        return self.identity is Identity.INSTANCE and self.node(name).role is Role.LEARNER

    def ports_of(self, name: NodeId, service: ServiceConfig) -> tuple[OnionPort, ...]:
        """Return where the node leads a service's visitors: its own ports, or the service's.

        :raises ConfigError: if there is no such node.
        """
        return self.node(name).ports.get(service.name, service.ports)


@dataclass(frozen=True, slots=True)
class NodePaths:
    """Where everything of one node lies, under its data directory."""

    data_dir: Path

    @property
    def tls_dir(self) -> Path:
        """ca.crt, node.crt and node.key (`pki.py`)."""
        return self.data_dir / "tls"

    @property
    def authority_dir(self) -> Path:
        """ca.crt and ca.key, on a node that can certify others."""
        return self.data_dir / "ca"

    @property
    def raft_dir(self) -> Path:
        """Journal and snapshot."""
        return self.data_dir / "raft"

    @property
    def tor_dir(self) -> Path:
        """All that a managed tor keeps, and tor.log (`tor/managed_tor.py`)."""
        return self.data_dir / "tor"

    @property
    def services_dir(self) -> Path:
        """A key directory for each service."""
        return self.data_dir / "services"

    def key_dir(self, service: str) -> Path:
        """Return the directory of a service's master key, in tor's own form."""
        return self.services_dir / service

    def instance_dir(self, service: str) -> Path:
        """Return the directory of this node's own key for a service (identity "instance")."""
        return self.data_dir / "instances" / service

    @property
    def api_socket(self) -> Path:
        """Unix socket on which the daemon answers `rbcluster status`."""
        return self.data_dir / "api.sock"


def load_config(path: Path) -> Config:
    """Read a cluster.toml.

    :raises ConfigError: if it can't be read or breaks a rule; all faults are named, a line each.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file: make one with `rbcluster init`") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read: {error.strerror}: {remedy_for(error)}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: is not UTF-8 text at byte {error.start}: {_MEND_TOML}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}: {_MEND_TOML}") from error
    return parse_config(raw, base=path.absolute().parent, source=str(path))


def parse_config(raw: Mapping[str, Any], *, base: Path, source: str = "cluster.toml") -> Config:
    """Check the tables of a cluster.toml.

    :param base: absolute directory that relative paths start from.
    :param source: what to call it in errors.
    :raises ConfigError: as `load_config`.
    """
    faults = list(relation_faults(raw))
    try:
        config = Config.model_validate(raw, context={"base": base})
    except ValidationError as error:
        faults += [describe(fault, _known_keys) for fault in error.errors()]
    if faults:
        raise ConfigError("\n".join(f"{source}: {fault}" for fault in faults))
    return config


def resolve_node(
    config: Config, option: str | None, environ: Mapping[str, str], hostname: str
) -> NodeId:
    """Find which node this machine is: by ``--node``, else RBCLUSTER_NODE, else its host name.

    A host name counts as a whole or by its first label.

    :raises ConfigError: if that names no node; the text lists those there are.
    """
    if option:
        origin, names = "--node", [option]
    elif environ.get(NODE_VARIABLE):
        origin, names = NODE_VARIABLE, [environ[NODE_VARIABLE]]
    else:
        origin, names = "the host name", [hostname.lower(), hostname.lower().partition(".")[0]]
    known = {node.name.name: node.name for node in config.nodes}
    for name in names:
        if name in known:
            return known[name]
    raise ConfigError(
        f"cluster.toml has no node {names[0]!r} (from {origin}): say which of "
        f"{', '.join(known)} this machine is with --node or {NODE_VARIABLE}"
    )


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    """List the keys of the table that a fault lies in."""
    tables: dict[str, type[_Table]] = {
        "cluster": ClusterConfig,
        "node": NodeConfig,
        "service": ServiceConfig,
        "backend": BackendConfig,
        "publish": PublishConfig,
        "tor": TorConfig,
        "transport": TransportConfig,
    }
    names = [part for part in place[:-1] if isinstance(part, str)]
    model = tables[names[-1]] if names else Config
    return [field.alias or name for name, field in model.model_fields.items()]
