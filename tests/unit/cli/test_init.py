"""`rbcluster init`: a whole cluster in a folder, or nothing."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.cli.main import main
from rbcluster.config import NodePaths, Profile, load_config
from rbcluster.core.ids import UNDRAWN_CLUSTER_ID, NodeId
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.pki import load_authority, verify_node_tls
from rbcluster.tor.key_directory import read_secret_key

SEED = bytes.fromhex("454cf9d7990b659e44900c12cd623bebd514eba5709cf0356cbfe224da47cbaf")
ADDRESS = "2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion"
NODES = ("--node", "a=192.0.2.1:7300", "--node", "b=[2001:DB8::2]:7300", "--node", "c=c.example:1")


def init(directory: Path, *args: str | Path) -> Result:
    return CliRunner().invoke(main, ["init", str(directory), *map(str, args)])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    directory = tmp_path / "new"
    result = init(directory, "--name", "example", *NODES)
    assert result.exit_code == 0, result.stderr
    return directory


def test_the_configuration_it_writes_loads(made: Path) -> None:
    config = load_config(made / "cluster.toml")
    assert (config.cluster.name, config.cluster.profile) == ("example", Profile.LAN)
    assert {str(node.name): str(node.address) for node in config.nodes} == {
        "a": "192.0.2.1:7300",
        "b": "[2001:db8::2]:7300",
        "c": "c.example:1",
    }
    (service,) = config.services
    assert [str(port) for port in service.ports] == ["80 127.0.0.1:8080"]


def test_every_cluster_it_makes_has_an_id_of_its_own(made: Path, tmp_path: Path) -> None:
    assert init(tmp_path / "other", "--name", "example", *NODES).exit_code == 0
    ids = {load_config(path / "cluster.toml").cluster.id for path in (made, tmp_path / "other")}
    assert len(ids - {UNDRAWN_CLUSTER_ID}) == 2


def test_each_nodes_folder_is_its_data_directory(made: Path) -> None:
    (service,) = load_config(made / "cluster.toml").services
    for name in "abc":
        paths = NodePaths(made / "nodes" / name)
        verify_node_tls(paths.tls_dir, NodeId(name), datetime.now(UTC))
        keypair = read_secret_key(paths.key_dir(service.name) / "hs_ed25519_secret_key")
        assert OnionAddress(keypair.public) == service.address


def test_the_authority_can_certify_further_nodes(made: Path) -> None:
    authority = load_authority(made / "ca")
    assert "O=example" in authority.certificate.subject.rfc4514_string()
    assert not list((made / "nodes").rglob("ca.key"))


def test_nothing_is_open_to_others(made: Path) -> None:
    closed = [made, *(made / "nodes").iterdir(), *made.rglob("*key*"), *made.rglob("ca")]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in closed} == {0}


def test_ports_profile_and_service_are_as_told(tmp_path: Path) -> None:
    ports = ("--port", "80 unix:/run/a b.sock", "--port", "443 [::1]:8443")
    args = ("--name", "far", "--profile", "wan", "--service", "shop", *ports)
    init(tmp_path / "new", *args, "--node", "a=a.example:1")
    config = load_config(tmp_path / "new" / "cluster.toml")
    assert config.cluster.profile is Profile.WAN
    (service,) = config.services
    assert service.name == "shop"
    assert [str(port) for port in service.ports] == ['80 unix:"/run/a b.sock"', "443 [::1]:8443"]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (SEED, "a seed of 32 bytes"),
        (IdentityKeypair.from_seed(SEED).secret, "an expanded key of 64 bytes"),
    ],
)
def test_a_master_key_is_imported(tmp_path: Path, content: bytes, form: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    result = init(tmp_path / "new", "--name", "x", "--node", "a=a.example:1", "--key", file)
    assert f"web is {ADDRESS} (read from {file}, {form})\n" in result.stdout
    assert (tmp_path / "new/nodes/a/services/web/hostname").read_text() == f"{ADDRESS}\n"


TWO = ("--name", "x", "--node", "a=a.example:1", "--node", "b=b.example:1")


def seed_file(directory: Path, seed: bytes = SEED) -> Path:
    file = directory / f"key-{seed[0]}"
    file.write_bytes(seed)
    file.chmod(0o600)
    return file


def test_each_service_has_its_own_key_on_every_node(tmp_path: Path) -> None:
    services = ("--service", f"web={seed_file(tmp_path)}", "--service", "blog")
    result = init(tmp_path / "new", *TWO, *services)
    web, blog = load_config(tmp_path / "new" / "cluster.toml").services
    assert (web.name, blog.name, str(web.address)) == ("web", "blog", ADDRESS)
    assert result.stdout.splitlines()[:2] == [
        f"web is {ADDRESS} (read from {tmp_path / 'key-69'}, a seed of 32 bytes)",
        f"blog is {blog.address} (a new key)",
    ]
    assert "certificate and master keys of b" in result.stdout
    for node in "ab":
        paths = NodePaths(tmp_path / "new" / "nodes" / node)
        for service in (web, blog):
            keypair = read_secret_key(paths.key_dir(service.name) / "hs_ed25519_secret_key")
            assert OnionAddress(keypair.public) == service.address


def test_ports_are_those_of_a_service_or_of_each_without_its_own(tmp_path: Path) -> None:
    services = ("--service", "web", "--service", "blog", "--service", "wiki")
    ports = ("--port", "80 unix:/run/a=b", "--port", "blog=80 127.0.0.1:81", "--port", "blog=443")
    init(tmp_path / "new", *TWO, *services, *ports)
    found = load_config(tmp_path / "new" / "cluster.toml").services
    assert {service.name: [str(port) for port in service.ports] for service in found} == {
        "web": ['80 unix:"/run/a=b"'],
        "blog": ["80 127.0.0.1:81", "443 127.0.0.1:443"],
        "wiki": ['80 unix:"/run/a=b"'],
    }


def test_a_service_whose_ports_all_are_other_services_is_told_to_have_some(tmp_path: Path) -> None:
    services = ("--service", "web", "--service", "blog")
    result = init(tmp_path / "new", *TWO, *services, "--port", "blog=80")
    assert result.stderr == (
        "rbcluster: init: service[0].ports: there is none: give at least one\n"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--service", "web", "--service", "web"),
            "init: service[1].name: 'web' is that of service[0] too: each service needs its own",
        ),
        (
            ("--service", "web={key}", "--service", "blog={key}"),
            (
                f"init: service[1].address: '{ADDRESS}' is that of service[0] too: each service "
                "needs its own"
            ),
        ),
        (
            ("--service", "web", "--service", "blog", "--key", "{key}"),
            "--key {key} does not say of which service it is: write --service web={key} instead",
        ),
        (
            ("--service", "web={key}", "--key", "{key}"),
            "--key {key} does not say of which service it is: write --service web={key} instead",
        ),
        (
            ("--service", "web="),
            (
                "--service 'web=' names no key file: write web=FILE to import a key, or web for a "
                "new one"
            ),
        ),
        (
            ("--service", "web", "--port", "blog=80"),
            "--port 'blog=80': no --service is called 'blog': there is web",
        ),
    ],
)
def test_services_that_do_not_go_together_leave_nothing(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    key = seed_file(tmp_path)
    result = init(tmp_path / "new", *TWO, *(option.format(key=key) for option in options))
    assert (result.exit_code, result.stderr) == (1, f"rbcluster: {sentence.format(key=key)}\n")
    assert list(tmp_path.iterdir()) == [key]


def test_what_was_made_and_what_comes_next_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    said = init(directory, "--name", "example", *NODES).stdout
    rsync = "rsync -a --mkpath --chown"
    to_data = f"{directory}/nodes/c/ root@c.example:/var/lib/rbcluster/"
    to_config = f"{directory}/cluster.toml root@c.example:/etc/rbcluster/cluster.toml"
    assert f"  {rsync}=rbcluster:rbcluster {to_data}\n" in said
    assert f"  {rsync}=root:rbcluster --chmod=F640 {to_config}\n" in said
    assert "runuser -u rbcluster -- rbcluster run --node NAME" in said


def test_the_user_it_speaks_of_is_the_one_of_the_readme(tmp_path: Path) -> None:
    said = init(tmp_path / "new", "--name", "example", *NODES).stdout
    (making,) = [line for line in said.splitlines() if line.startswith("  useradd ")]
    user = making.split()[-1]
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert making in readme
    assert f"\n    User={user}\n" in readme


def test_an_ipv6_node_is_named_to_rsync_in_brackets(tmp_path: Path) -> None:
    said = init(tmp_path / "new", "--name", "x", "--node", "a=[2001:db8::2]:7300").stdout
    assert "root@[2001:db8::2]:/var/lib/rbcluster/" in said


def test_nothing_is_ever_written_over(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    result = init(made, "--name", "other", *NODES)
    assert result.exit_code == 1
    assert "exists: nothing is written over, name a new folder" in result.stderr
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("precious")
    assert init(tmp_path / "new", "--name", "x", *NODES).exit_code == 1
    assert (tmp_path / "new").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert init(tmp_path / "new", "--name", "x", *NODES).exit_code == 0


def test_all_faults_are_told_together_and_nothing_is_left(tmp_path: Path) -> None:
    nodes = ("--node", "a=192.0.2.1", "--node", "a=b.example:0")
    result = init(tmp_path / "new", "--name", "X", *nodes, "--port", "0")
    assert result.exit_code == 1
    assert [line.split(": ")[2] for line in result.stderr.splitlines()] == [
        "node[1].name",
        "cluster.name",
        "node[0].address",
        "node[1].address",
        "service[0].ports[0]",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["808O", "nonsense"])
def test_a_mistyped_port_is_no_host_name(tmp_path: Path, target: str) -> None:
    result = init(tmp_path / "new", *TWO, "--port", f"80 {target}")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"rbcluster: init: service[0].ports[0]: '{target}' is no port, IP address or unix:PATH: "
    )
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_an_address_is_explained(tmp_path: Path) -> None:
    result = init(tmp_path / "new", "--name", "x", "--node", "a")
    assert (result.exit_code, result.stderr) == (
        1,
        "rbcluster: --node 'a' is no NAME=HOST:PORT: write it as a=192.0.2.1:7300\n",
    )


def test_a_bad_key_file_leaves_nothing(tmp_path: Path) -> None:
    result = init(tmp_path / "new", "--name", "x", *NODES, "--key", tmp_path / "none")
    assert result.exit_code == 1
    assert "none does not exist" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (
            "{0}/file/new",
            "(File exists): a file stands where a folder should be: name another path",
        ),
        ("/proc/new", "(No such file or directory): no file can be made there: name a folder on a"),
        ("{0}/" + "x" * 300, "(File name too long): name a shorter path"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_with_a_remedy(
    tmp_path: Path, place: str, sentence: str
) -> None:
    (tmp_path / "file").write_text("")
    place = place.format(tmp_path)
    result = init(Path(place), "--name", "x", *NODES)
    assert result.exit_code == 1
    assert f"the new folder {place} can't be made {sentence}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
