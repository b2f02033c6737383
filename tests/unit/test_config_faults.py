"""What is said of a wrong cluster.toml: each fault a line with place, value and rule."""

from __future__ import annotations

import re

import pytest

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.settings import Identity
from tests.shared.cluster_toml import ADDRESS, SERVICE, SMALL, faults, parse


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


@pytest.mark.parametrize("name", ["zoe", "b"])
def test_a_founder_is_one_of_the_voters(name: str) -> None:
    text = SMALL.replace("[cluster]", f'[cluster]\nfounder = "{name}"')
    learner = re.sub(r'(address = "192.0.2.2.*)', r'\1\nrole = "learner"', text)
    assert faults(learner) == ["cluster.founder: no voter has this name: there is 'a'"]


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
    other = str(OnionAddress(IdentityKeypair.from_seed(bytes(32)).public))
    blog = f'[[service]]\nname = "blog"\naddress = "{other}"\nports = ["80"]\n'
    (fault,) = faults(web + blog + 'hidden_service_dir = "/var/lib/tor/web/"\n')
    assert fault.startswith("service[1].hidden_service_dir: ")
    assert parse(web + blog + 'hidden_service_dir = "/var/lib/tor/Web"\n')


def test_the_value_of_an_unknown_key_is_not_repeated() -> None:
    """Someone may have put a password there."""
    (fault,) = faults(SMALL + '[tor]\npassword = "sesame"\n')
    assert "sesame" not in fault


def _blog(more: str = "") -> str:
    other = OnionAddress(IdentityKeypair.from_seed(bytes(32)).public)
    return f'[[service]]\nname = "blog"\naddress = "{other}"\nports = ["80"]\n{more}'


@pytest.mark.parametrize("common", ["", 'identity = "shared"'])
def test_services_of_two_identities_in_one_tor_are_refused(common: str) -> None:
    text = SMALL.replace("[cluster]", f"[cluster]\n{common}") + _blog('identity = "instance"\n')
    (fault,) = faults(text)
    assert fault.startswith('service[1].identity: is "instance", that of service[0] "shared": a ')
    assert "publishes either all of its services or none" in fault


def test_services_of_one_identity_may_state_it_each_or_once() -> None:
    stated = SMALL.replace("[cluster]", '[cluster]\nidentity = "instance"')
    assert parse(stated + _blog()).identity is Identity.INSTANCE
    assert parse(stated + _blog('identity = "instance"\n')).identity is Identity.INSTANCE
    each = SMALL + 'identity = "instance"\n' + _blog('identity = "instance"\n')
    assert parse(each).identity is Identity.INSTANCE
    assert parse(SMALL).identity is Identity.SHARED


def test_an_unknown_identity_is_a_fault() -> None:
    (fault,) = faults(SMALL.replace("[cluster]", '[cluster]\nidentity = "own"'))
    assert fault == "cluster.identity: 'own' found: it should be 'shared' or 'instance'"
