"""cluster.toml: what it says, and what is said of a wrong one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rbcluster.config import (
    NodePaths,
    Profile,
    TorConfig,
    load_config,
    parse_config,
    resolve_node,
)
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import SeedCluster
from rbcluster.core.ids import UNDRAWN_CLUSTER_ID
from rbcluster.core.state import Member, Policy, Role
from rbcluster.endpoint import HostPort
from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.settings import TorMode
from tests.shared.cluster_toml import ADDRESS, BASE, SERVICE, SMALL, A, B, C, faults, parse

SEED = bytes(range(32))


def test_a_small_file_gets_every_default() -> None:
    config = parse(SMALL)
    node = config.node(A)
    assert config.cluster.profile is Profile.LAN
    assert config.cluster.id == UNDRAWN_CLUSTER_ID
    assert config.cluster.fsync
    assert (node.weight, node.role, str(node.address)) == (1, Role.VOTER, "192.0.2.1:7300")
    assert node.paths.data_dir == Path("/var/lib/rbcluster")
    assert config.tor_of(A) == TorConfig()
    assert config.publish.to_policy(SEED) == Policy(shuffle_seed=SEED)
    assert str(config.services[0].address) == ADDRESS


def test_the_example_loads_and_shows_every_key() -> None:
    path = Path(__file__).parents[2] / "cluster.toml.example"
    config = load_config(path)
    assert [str(node.address) for node in config.nodes] == [
        "192.0.2.1:7300",
        "[2001:db8::2]:7300",
        "c.example.org:7300",
    ]
    assert config.tor_of(A).mode is TorMode.MANAGED
    assert config.tor_of(B).mode is TorMode.SYSTEM
    assert [str(port) for port in config.ports_of(C, config.services[0])] == ["80 127.0.0.1:8081"]
    shown = set(re.findall(r"^ *#?([a-z_]+) = ", path.read_text(), re.MULTILINE))
    tables = (
        *(config.cluster, config.nodes[0], config.services[0]),
        *(config.publish, config.tor, config.transport),
    )
    tables_in_tables = {"backends"}
    assert config.services[0].backends == ()
    assert config.services[1].backends
    known = {key for table in tables for key in type(table).model_fields}
    assert shown == known - tables_in_tables


def test_the_defaults_the_example_shows_are_the_defaults() -> None:
    """Taking the # off a default changes nothing."""
    path = Path(__file__).parents[2] / "cluster.toml.example"
    text = re.sub(
        r"^#(?!password_file|control|listen|via|founder)([a-z_]+ = )",
        r"\1",
        path.read_text(),
        flags=re.MULTILINE,
    )
    assert text != path.read_text()
    assert parse_config(tomllib.loads(text), base=path.parent) == load_config(path)


def test_a_file_is_named_by_its_path_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text("[cluster]\nname = 'UPPER'\n")
    with pytest.raises(ConfigError, match=rf"^{path}: cluster.name: 'UPPER' is no name"):
        load_config(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no such file: make one with `rbcluster init`"),
        (b"\xff", "is not UTF-8 text at byte 0: mend it after cluster.toml.example"),
        (b"[cluster\n", r"is not TOML: .*line 1.*: mend it after cluster\.toml\.example"),
    ],
)
def test_an_unreadable_file_gets_one_sentence(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = tmp_path / "cluster.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_directory_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="can't be read: Is a directory: it is a folder: name a file"
    ):
        load_config(tmp_path)


def test_relative_paths_start_where_the_file_lies(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(SMALL.replace('"a"\n', '"a"\ndata_dir = "nodes/a"\n'))
    assert load_config(path).node(A).data_dir == tmp_path / "nodes" / "a"


def test_absolute_paths_stay() -> None:
    assert parse(SMALL.replace('"a"\n', '"a"\ndata_dir = "/srv/a"\n')).node(A).data_dir == Path(
        "/srv/a"
    )


def test_everything_of_a_node_lies_under_its_data_directory() -> None:
    paths = NodePaths(Path("/srv/a"))
    assert [
        paths.tls_dir,
        paths.raft_dir,
        paths.tor_dir,
        paths.key_dir("web"),
        paths.api_socket,
    ] == [Path("/srv/a") / name for name in ("tls", "raft", "tor", "services/web", "api.sock")]


def test_a_node_overrides_only_the_tor_settings_it_states() -> None:
    config = parse(
        SMALL.replace('"b"\n', '"b"\ntor = {control = "127.0.0.1:9051"}\n')
        + '[tor]\nmode = "system"\npassword_file = "secret"\n'
    )
    settings = config.tor_of(B)
    assert settings.mode is TorMode.SYSTEM
    assert settings.control == HostPort("127.0.0.1", 9051)
    assert settings.password_file == BASE / "secret"
    assert config.tor_of(A).control == Path("/run/tor/control")


@pytest.mark.parametrize(
    ("control", "endpoint"),
    [
        ("unix:/run/tor/b", Path("/run/tor/b")),
        ("127.0.0.1:9051", ("127.0.0.1", 9051)),
        ("[::1]:9051", ("::1", 9051)),
    ],
)
def test_a_control_port_is_a_socket_or_a_host_and_port(
    control: str, endpoint: Path | tuple[str, int]
) -> None:
    config = parse(SMALL + f'[tor]\nmode = "system"\ncontrol = "{control}"\n')
    assert config.tor_of(A).control_endpoint == endpoint


def password_of(path: Path) -> str | None:
    return parse(SMALL + f'[tor]\nmode = "system"\npassword_file = "{path}"\n').tor.read_password()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("open sesame\n")
    path.chmod(0o640)
    return path


def test_a_password_is_the_one_line_of_its_file(password_file: Path) -> None:
    assert password_of(password_file) == "open sesame"
    assert parse(SMALL).tor.read_password() is None


@pytest.mark.parametrize("content", [b"", b"\n", b"open\nsesame\n", b"sesame\xff"])
def test_what_is_no_password_is_refused_unquoted(password_file: Path, content: bytes) -> None:
    password_file.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no password: write it as one line") as caught:
        password_of(password_file)
    assert "sesame" not in str(caught.value)


def test_a_password_that_everyone_can_read_is_refused(password_file: Path) -> None:
    password_file.chmod(0o644)
    with pytest.raises(ConfigError, match="everyone can read or write it: chmod o= "):
        password_of(password_file)


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: can't be read: No such .*: check tor\.password"):
        password_of(tmp_path / "none")


def test_a_managed_tor_takes_further_lines_and_a_binary() -> None:
    settings = parse(
        SMALL + '[tor]\nbinary = "/opt/tor"\nextra = [" Log notice syslog "]\n'
    ).tor_of(A)
    assert (settings.binary, settings.extra) == ("/opt/tor", ("Log notice syslog",))


def test_a_service_keeps_its_ports_on_nodes_without_their_own() -> None:
    config = parse(SMALL.replace('"b"\n', '"b"\nports = {web = ["80 9000"]}\n'))
    web = config.services[0]
    assert [str(port) for port in config.ports_of(A, web)] == ["80 127.0.0.1:8080"]
    assert [str(port) for port in config.ports_of(B, web)] == ["80 127.0.0.1:9000"]


def test_publish_settings_become_milliseconds() -> None:
    policy = parse(
        SMALL + "[publish]\nmax_intro_points = 9\nwithdraw_after = 2.5\nsettle = 0\n"
        "refresh_min = 0.5\nrefresh_max = 1\nupload_burst = 3\nupload_every = 4\n"
    ).publish.to_policy(SEED)
    assert policy == Policy(
        max_intro_points=9,
        withdraw_after_ms=2_500,
        settle_ms=0,
        refresh_min_ms=30_000,
        refresh_max_ms=60_000,
        upload_burst=3,
        upload_every_ms=4_000,
        shuffle_seed=SEED,
    )


def test_values_never_change() -> None:
    config = parse(SMALL)
    with pytest.raises(ValidationError):
        config.cluster.name = "other"


def test_an_even_number_of_voters_is_allowed() -> None:
    assert len(parse(SMALL).nodes) == 2


def test_a_file_without_a_service_is_told_how_to_get_one() -> None:
    without = SMALL.removesuffix(SERVICE)
    for table in "", "service = []\n":
        (fault,) = faults(table + without)
        assert fault.startswith("service: there is none: give at least one")


@pytest.mark.parametrize("number", [100, 101])
def test_no_more_services_are_taken_than_a_cluster_can_be_founded_with(number: int) -> None:
    keys = (IdentityKeypair.from_seed(bytes([n]) * 32).public for n in range(number))
    services = {OnionAddress(key): f"s{n}" for n, key in enumerate(keys)}
    tables = "".join(
        f'[[service]]\nname = "{name}"\naddress = "{address}"\nports = ["80"]\n'
        for address, name in services.items()
    )
    text = SMALL.removesuffix(SERVICE) + tables
    if number > 100:
        assert faults(text) == ["service: there are 101: a cluster serves at most 100"]
    else:
        members = (Member(node=A, address="a:1"),)
        assert len(parse(text).services) == 100
        assert encode_command(
            SeedCluster(name="x", members=members, services=services, policy=Policy())
        )


def test_a_key_that_is_no_bare_one_is_quoted() -> None:
    (fault,) = faults(SMALL + '["a\\nb"]\n')
    assert fault.startswith("'a\\nb': unknown key")


def test_an_unknown_node_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="has no node 'c': its nodes are a, b"):
        parse(SMALL).node(C)


@pytest.mark.parametrize(
    ("option", "environ", "hostname"),
    [
        ("b", {"RBCLUSTER_NODE": "a"}, "a"),
        (None, {"RBCLUSTER_NODE": "b"}, "a"),
        (None, {}, "b"),
        (None, {"RBCLUSTER_NODE": ""}, "B.example.org"),
    ],
)
def test_a_node_finds_itself_by_option_then_environment_then_host_name(
    option: str | None, environ: dict[str, str], hostname: str
) -> None:
    assert resolve_node(parse(SMALL), option, environ, hostname) == B


@pytest.mark.parametrize(
    ("option", "environ", "origin"),
    [
        ("c", {}, "--node"),
        (None, {"RBCLUSTER_NODE": "c"}, "RBCLUSTER_NODE"),
        (None, {}, "the host"),
    ],
)
def test_a_machine_that_is_no_node_learns_the_names(
    option: str | None, environ: dict[str, str], origin: str
) -> None:
    with pytest.raises(ConfigError, match=rf"no node 'c' \(from {origin}.*which of a, b") as caught:
        resolve_node(parse(SMALL), option, environ, "c")
    assert "--node or RBCLUSTER_NODE" in str(caught.value)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_KEYS = st.text(max_size=5) | st.sampled_from(
    ["cluster", "node", "service", "publish", "tor", "name", "address", "ports", "mode", "extra"]
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(raw=st.dictionaries(_KEYS, _TREES, max_size=5))
def test_any_tables_are_refused_with_config_error_alone(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:  # names and addresses are never all there
        parse_config(raw, base=BASE)
    assert all(line.startswith("cluster.toml: ") for line in str(caught.value).splitlines())


ONION_NODE = SMALL.replace("192.0.2.2", "x" * 56 + ".onion")


def test_nodes_may_be_reached_through_a_proxy_and_listen_elsewhere() -> None:
    text = ONION_NODE.replace('name = "b"', 'name = "b"\nlisten = "127.0.0.1:7301"').replace(
        "[cluster]", '[transport]\nvia = "socks5://127.0.0.1:9150"\n[cluster]\nprofile = "onion"'
    )
    config = parse(text)
    assert config.transport.via == HostPort("127.0.0.1", 9150)
    assert config.node(B).listen == HostPort("127.0.0.1", 7301)
    assert config.cluster.profile is Profile.ONION
    assert parse(SMALL).transport.via is None
    assert parse(SMALL).node(A).listen is None


def test_what_an_onion_address_lacks_is_named() -> None:
    assert [fault.partition(":")[0] for fault in faults(ONION_NODE)] == [
        "node[1].listen",
        "transport.via",
        "cluster.profile",
    ]
