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
    Config,
    NodePaths,
    Profile,
    TorConfig,
    load_config,
    parse_config,
    resolve_node,
)
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import SeedCluster
from rbcluster.core.ids import UNDRAWN_CLUSTER_ID, NodeId
from rbcluster.core.state import Member, Policy, Role
from rbcluster.endpoint import HostPort, OnionPort
from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.settings import TorMode

ADDRESS = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
BASE = Path("/etc/rbcluster")
SEED = bytes(range(32))
SMALL = f"""
[cluster]
name = "small"
[[node]]
name = "a"
address = "192.0.2.1:7300"
[[node]]
name = "b"
address = "192.0.2.2:7300"
[[service]]
name = "web"
address = "{ADDRESS}"
ports = ["80 127.0.0.1:8080"]
"""
A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
SERVICE = SMALL[SMALL.index("[[service]]") :]


def parse(text: str) -> Config:
    return parse_config(tomllib.loads(text), base=BASE)


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return [line.removeprefix("cluster.toml: ") for line in str(caught.value).splitlines()]


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
    assert shown == {key for table in tables for key in type(table).model_fields}


def test_the_defaults_the_example_shows_are_the_defaults() -> None:
    """Taking the # off a default changes nothing."""
    path = Path(__file__).parents[2] / "cluster.toml.example"
    text = re.sub(
        r"^#(?!password_file|control|listen|via)([a-z_]+ = )",
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
    ("replace", "by", "fault"),
    [
        ("[cluster]", "[cluster]\ncolour = 1", "cluster.colour: unknown key: known here are name"),
        ("[cluster]", "[tar]\n[cluster]", "tar: unknown key: known here are cluster, node, serv"),
        ('name = "small"', "", "cluster.name: is missing"),
        ('name = "small"', "name = 5", "cluster.name: 5 is no text"),
        (
            "[cluster]",
            '[cluster]\nprofile = "moon"',
            "cluster.profile: 'moon' found: it should be 'lan', 'wan' or 'onion'",
        ),
        ("[cluster]", '[cluster]\nid = "00ff"', "cluster.id: '00ff' is no cluster id: keep the 32"),
        ("[cluster]", '[cluster]\nid = "words"', "cluster.id: 'words' is no cluster id: keep"),
        ("[cluster]", "[cluster]\nfsync = 0", "cluster.fsync: "),
        ('name = "b"\n', "", "node[1].name: is missing"),
        ('name = "b"', 'name = "a"', "node[1].name: 'a' is that of node[0] too"),
        ('name = "b"', 'name = "B!"', "node[1].name: 'B!' is no node name: use 1 to 63 of a-z"),
        ('address = "192.0.2.2:7300"\n', "", "node[1].address: is missing"),
        ("192.0.2.2:7300", "192.0.2.1:7300", "node[1].address: '192.0.2.1:7300' is that of node["),
        ("192.0.2.2:7300", "192.0.2.2", "node[1].address: '192.0.2.2' is no host:port: write"),
        ("192.0.2.2:7300", "192.0.2.2:0", "node[1].address: '0' is no port: use a number from 1"),
        ("192.0.2.2:7300", "192.0.2.2:65536", "node[1].address: '65536' is no port"),
        ("192.0.2.2:7300", "192.0.2.2:x", "node[1].address: 'x' is no port"),
        ("192.0.2.2:7300", "192.0.2.256:1", "node[1].address: '192.0.2.256' is no IPv4 address"),
        ("192.0.2.2:7300", "::1:7300", "node[1].address: '::1:7300' is no host:port"),
        ("192.0.2.2:7300", "[::g]:7300", "node[1].address: '::g' is no IPv6 address"),
        ("192.0.2.2:7300", "a b:7300", "node[1].address: 'a b' is no host name"),
        ('"b"\n', '"b"\nlisten = "x"\n', "node[1].listen: 'x' is no host:port"),
        (
            "[cluster]",
            '[transport]\nvia = "127.0.0.1:9150"\n[cluster]',
            "transport.via: '127.0.0.1:9150' is no proxy: write socks5://",
        ),
        ('"b"\n', '"b"\nweight = 0\n', "node[1].weight: 0 found: it should be greater than or"),
        ('"b"\n', '"b"\nweight = true\n', "node[1].weight: True found: it should be a valid int"),
        ('"b"\n', '"b"\nrole = "king"\n', "node[1].role: 'king' found: it should be 'voter' or"),
        ('"b"\n', '"b"\ndata_dir = 5\n', "node[1].data_dir: 5 found: it should be a path in quo"),
        ('"b"\n', '"b"\ntor = {spin = 1}\n', "node[1].tor.spin: unknown key: known here are mode"),
        ('"b"\n', '"b"\nports = 80\n', "node[1].ports: 80 found: it should be a table"),
        ('"b"\n', '"b"\nports = {wob = ["80"]}\n', "node[1].ports.wob: no service has this name"),
        ('"b"\n', '"b"\nports = {web = ["0"]}\n', "node[1].ports.web[0]: '0' is no port"),
        (ADDRESS, "a" + ADDRESS[1:], f"service[0].address: 'a{ADDRESS[1:]}' has a wrong checksum"),
        (ADDRESS, "abc.onion", "service[0].address: 'abc.onion' is no v3 onion address: 3 chara"),
        ('name = "web"', 'name = "../web"', "service[0].name: '../web' is no name: use 1 to 63"),
        ('["80 127.0.0.1:8080"]', "[]", "service[0].ports: there is none: give at least one"),
        ('["80 127.0.0.1:8080"]', '"80"', "service[0].ports: '80' found: it should be a list"),
        ("80 127.0.0.1:8080", "80 127.0.0.1:x", "service[0].ports[0]: "),
        ("80 127.0.0.1:8080", "http", "service[0].ports[0]: 'http' is no port"),
        ("80 127.0.0.1:8080", "80 unix:x", "service[0].ports[0]: 'unix:x' names no Unix socket"),
        ("[cluster]", "[publish]\nsettle = -1\n[cluster]", "publish.settle: -1 found: it should"),
        ("[cluster]", "[publish]\nsettle = nan\n[cluster]", "publish.settle: nan found: it should"),
        (
            "[cluster]",
            "[publish]\nmax_intro_points = 21\n[cluster]",
            "publish.max_intro_points: 21 found: it should be less than or equal to 20",
        ),
        (
            "[cluster]",
            "[publish]\nwithdraw_after = 0\n[cluster]",
            "publish.withdraw_after: 0 found: it should be greater than",
        ),
        (
            "[cluster]",
            "[publish]\nrefresh_min = 121\n[cluster]",
            "publish.refresh_max: 120 is below refresh_min 121: swap or change them",
        ),
        ("[cluster]", '[tor]\nmode = "x"\n[cluster]', "tor.mode: 'x' found: it should be 'manag"),
        (
            "[cluster]",
            '[tor]\nmode = "system"\ncontrol = "x"\n[cluster]',
            "tor.control: 'x' is no host:port",
        ),
        (
            "[cluster]",
            '[tor]\ncontrol = "127.0.0.1:9051"\n[cluster]',
            'tor.control: has no use with mode = "managed"',
        ),
        (
            '"b"\n',
            '"b"\ntor = {mode = "system", binary = "x"}\n',
            'node[1].tor.binary: has no use with mode = "system"',
        ),
        (
            "[cluster]",
            '[tor]\nextra = ["Log notice syslog\\nHiddenServiceDir x"]\n[cluster]',
            "tor.extra[0]: an entry is one line of torrc",
        ),
    ],
)
def test_one_fault_is_one_line_with_place_value_and_rule(replace: str, by: str, fault: str) -> None:
    text = SMALL.replace(replace, by, 1)
    assert text != SMALL
    (line,) = faults(text)
    assert line.startswith(fault)


def test_all_faults_are_reported_together() -> None:
    text = SMALL.replace("small", "Small").replace('"b"', '"a"').replace("8080", "99999")
    assert [line.partition(": ")[0] for line in faults(text)] == [
        "node[1].name",
        "cluster.name",
        "service[0].ports[0]",
    ]


def test_an_empty_file_lacks_a_cluster_nodes_and_services() -> None:
    assert faults("") == [
        "cluster: is missing: it must be given",
        "node: there is none: give at least one, as a table [[node]]",
        "service: there is none: give at least one, as a table [[service]]",
    ]


def test_an_empty_list_of_nodes_is_refused() -> None:
    assert faults(f'node = []\n[cluster]\nname = "a"\n{SERVICE}') == [
        "node: there is none: give at least one"
    ]


def test_a_single_bracket_is_explained() -> None:
    (fault,) = faults(f'[cluster]\nname = "a"\n[node]\nname = "a"\naddress = "a:1"\n{SERVICE}')
    assert fault.endswith("or tables under [[two brackets]]")


def test_learners_alone_make_no_cluster() -> None:
    text = re.sub(r'(address = "192.*)', r'\1\nrole = "learner"', SMALL)
    assert faults(text) == ["node: every node is a learner: at least one must be a voter"]


@pytest.mark.parametrize("spelling", ["[2001:db8::2]:7300", "[2001:DB8:0:0::2]:7300"])
def test_one_address_in_two_spellings_is_found(spelling: str) -> None:
    text = SMALL.replace("192.0.2.1:7300", "[2001:db8::2]:7300").replace("192.0.2.2:7300", spelling)
    assert faults(text)[0].startswith("node[1].address: ")


def test_one_onion_address_in_two_services_is_found() -> None:
    text = SMALL + f'[[service]]\nname = "b"\naddress = "{ADDRESS[:56].upper()}"\nports = ["80"]\n'
    (fault,) = faults(text)
    assert fault.startswith("service[1].address: ")


def test_one_directory_of_two_services_is_found() -> None:
    """It was copied with the table; one tor directory can't hold two keys."""
    web = SMALL + 'hidden_service_dir = "/var/lib/tor/web"\n'
    other = str(OnionAddress(IdentityKeypair.from_seed(SEED).public))
    blog = f'[[service]]\nname = "blog"\naddress = "{other}"\nports = ["80"]\n'
    (fault,) = faults(web + blog + 'hidden_service_dir = "/var/lib/tor/web/"\n')
    assert fault.startswith("service[1].hidden_service_dir: ")
    assert parse(web + blog + 'hidden_service_dir = "/var/lib/tor/Web"\n')


def test_the_value_of_an_unknown_key_is_not_repeated() -> None:
    """Someone may have put a password there."""
    (fault,) = faults(SMALL + '[tor]\npassword = "sesame"\n')
    assert "sesame" not in fault


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


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
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


@settings(deadline=None)
@given(text=st.text(max_size=40) | st.from_regex(r"[\w.:\[\]]{0,20}:\d{1,6}", fullmatch=True))
def test_any_text_is_an_endpoint_or_refused_with_value_error(text: str) -> None:
    try:
        endpoint = HostPort.parse(text)
    except ValueError:
        return
    assert HostPort.parse(str(endpoint)) == endpoint


@settings(deadline=None)
@given(text=st.text(max_size=40) | st.from_regex(r"\d{1,5} [\w.:/\[\]]{0,20}", fullmatch=True))
def test_any_text_is_an_onion_port_or_refused_with_value_error(text: str) -> None:
    try:
        port = OnionPort.parse(text)
    except ValueError:
        return
    assert OnionPort.parse(str(port)) == port
    assert "\n" not in str(port)


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
