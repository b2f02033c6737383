"""The daemon: from cluster.toml to settings, how it refuses to start, how it runs and stops."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster import daemon, pki
from rbcluster.agent.status_document import StatusDocument
from rbcluster.api.client import NoDaemon, fetch_status
from rbcluster.cli.main import main
from rbcluster.config import Config, NodePaths, load_config
from rbcluster.core.ids import NodeId
from rbcluster.core.state import Member, Policy, Role, Wish
from rbcluster.endpoint import HostPort
from rbcluster.errors import KeyFileError
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.lab.node_process import COMMAND
from rbcluster.lab.ports import PortReservation
from rbcluster.lab.waiting import wait_for
from rbcluster.raft.batches import PAYLOAD_BYTES, RESERVE_BYTES
from rbcluster.raft.disk import SECTOR_BYTES
from rbcluster.raft.machine import MachineState
from rbcluster.raft.profile import WAN
from rbcluster.raft.settings import Founding
from rbcluster.raft.storage import StoragePlace, open_storage
from rbcluster.tor.key_directory import SECRET_KEY_NAME, read_secret_key, write_key_directory
from rbcluster.tor.settings import Identity, TorMode

A, B, C = (NodeId(name) for name in "abc")
NO_OP = b"\1"  # PySyncObj's command type of the first entry of a log
LIMIT_S = 20.0  # for what takes about a second


class Made:
    """A cluster made by `rbcluster init`, every data directory beside its cluster.toml."""

    def __init__(self, directory: Path, *nodes: str) -> None:
        self.toml = directory / "cluster.toml"
        options = [option for node in nodes for option in ("--node", node)]
        made = CliRunner().invoke(main, ["init", str(directory), "--name", "test", *options])
        assert made.exit_code == 0, made.output
        self.edit('address = "127', 'data_dir = "nodes/{}"\naddress = "127')
        self.add('[tor]\nbinary = "/bin/false"')
        self.paths = NodePaths(directory / "nodes" / "a")
        self.key = self.paths.key_dir("web") / SECRET_KEY_NAME

    def edit(self, old: str, new: str) -> None:
        """Replace a text; each ``{}`` becomes the name of the next node."""
        text = self.toml.read_text().replace(old, new)
        for name in "abc"[: text.count("{}")]:
            text = text.replace("{}", name, 1)
        self.toml.write_text(text)

    def add(self, text: str) -> None:
        self.toml.write_text(f"{self.toml.read_text()}\n{text}\n")

    @property
    def config(self) -> Config:
        return load_config(self.toml)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must stand in no log: the master key and the TLS key, in likely spellings."""
        secret = self.key.read_bytes()[32:]
        pem = (self.paths.tls_dir / "node.key").read_text().splitlines()[1:-1]
        halves = (secret, secret[:32], secret[32:])
        return (
            *pem,
            *(half.hex() for half in halves),
            *(base64.b64encode(half).decode().rstrip("=") for half in halves),
            *(repr(half)[2:20] for half in halves),
        )


@pytest.fixture(name="port")
def reserved_port() -> Iterator[int]:
    ports = PortReservation()
    yield ports.reserve()
    ports.close()


@pytest.fixture(name="made")
def one_node(tmp_path_factory: pytest.TempPathFactory, port: int) -> Made:
    return Made(tmp_path_factory.mktemp("d") / "c", f"a=127.0.0.1:{port}")


@pytest.fixture(name="three")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Made:
    nodes = (f"{name}=127.0.0.1:{7000 + number}" for number, name in enumerate("abc"))
    return Made(tmp_path_factory.mktemp("d") / "c", *nodes)


# --- from cluster.toml to what each part takes


def test_a_node_is_told_where_the_others_are_and_who_founds_the_cluster(three: Made) -> None:
    three.edit('name = "c"', 'name = "c"\nrole = "learner"')
    paths = three.config.node(A).paths
    settings = daemon._raft_settings(three.config, A, paths)
    assert (settings.node, settings.listen) == (A, ("127.0.0.1", 7000))
    assert settings.peers == {B: ("127.0.0.1", 7001)}
    assert not settings.learner
    assert settings.learners == {C: ("127.0.0.1", 7002)}
    assert settings.founding == Founding(voters=frozenset({A, B}), founder=A)
    assert settings.data_dir == settings.storage.directory == paths.raft_dir
    assert settings.cluster == settings.storage.cluster == three.config.cluster.id
    assert settings.tls.key == paths.tls_dir / "node.key"
    assert settings.sync


def test_a_node_that_was_in_a_cluster_before_founds_none(
    three: Made, caplog: pytest.LogCaptureFixture
) -> None:
    paths = three.config.node(A).paths
    (paths.data_dir / "raft.set-aside-20260301T000000Z").mkdir()
    founding = daemon._raft_settings(three.config, A, paths).founding
    assert founding == Founding(voters=frozenset({A, B, C}), founder=None)
    assert "it waits for those that its cluster.toml names" in caplog.text


def test_the_file_may_name_who_founds(three: Made) -> None:
    three.edit('profile = "lan"', 'profile = "lan"\nfounder = "b"')
    founding = daemon._raft_settings(three.config, A, three.config.node(A).paths).founding
    assert founding == Founding(voters=frozenset({A, B, C}), founder=B)


@pytest.mark.parametrize(("is_there", "num_warnings"), [(True, 0), (False, 1)])
def test_a_node_that_is_to_hold_the_authority_warns_when_it_does_not(
    made: Made, caplog: pytest.LogCaptureFixture, is_there: bool, num_warnings: int
) -> None:
    made.edit('name = "a"', 'name = "a"\nissuer = true')
    if is_there:
        (made.toml.parent / "ca").rename(made.paths.authority_dir)
    daemon._look_for_authority(made.config, A, made.paths)
    assert [str(made.paths.authority_dir) in said for said in caplog.messages] == (
        [True] * num_warnings
    )


def test_a_learner_is_told_the_same(three: Made) -> None:
    for name in "bc":
        three.edit(f'name = "{name}"', f'name = "{name}"\nrole = "learner"')
    settings = daemon._raft_settings(three.config, C, three.config.node(C).paths)
    assert settings.learner
    assert settings.learners == {B: ("127.0.0.1", 7001)}
    assert settings.peers == {A: ("127.0.0.1", 7000)}


def test_journal_waits_for_the_disk_unless_told_otherwise(three: Made) -> None:
    assert daemon.storage_place(three.config, A).sync
    three.edit('profile = "lan"', 'profile = "lan"\nfsync = false')
    settings = daemon._raft_settings(three.config, A, three.config.node(A).paths)
    assert not settings.storage.sync


def test_profile_of_the_cluster_is_that_of_its_links(three: Made) -> None:
    three.edit('profile = "lan"', 'profile = "wan"')
    assert daemon._raft_settings(three.config, A, three.config.node(A).paths).profile == WAN


def test_node_may_listen_elsewhere_and_dial_through_a_proxy(three: Made) -> None:
    three.edit('name = "a"', 'name = "a"\nlisten = "127.0.0.1:7009"')
    three.edit("[cluster]", '[transport]\nvia = "socks5://127.0.0.1:9150"\n[cluster]')
    settings = daemon._raft_settings(three.config, A, three.config.node(A).paths)
    assert settings.listen == ("127.0.0.1", 7009)
    assert settings.via == HostPort("127.0.0.1", 9150)


def test_service_lies_in_the_data_directory_unless_told_otherwise(three: Made) -> None:
    paths = three.config.node(A).paths
    (service,) = daemon._services(three.config, A, paths)
    assert (service.directory, service.ports) == (paths.key_dir("web"), ("80 127.0.0.1:8080",))
    assert service.address == three.config.services[0].address
    three.edit("ports = [", 'hidden_service_dir = "/var/lib/tor/web"\nports = [')
    (service,) = daemon._services(three.config, A, paths)
    assert service.directory == Path("/var/lib/tor/web")


def test_instance_keeps_its_own_key_beside_the_master_key(three: Made) -> None:
    three.edit("[cluster]", '[cluster]\nidentity = "instance"')
    paths = three.config.node(A).paths
    (service,) = daemon._services(three.config, A, paths)
    assert service.identity is Identity.INSTANCE
    assert service.directory == paths.instance_dir("web") != paths.key_dir("web")
    assert daemon._keyring(three.config, A, paths).has(service.address)
    three.edit("ports = [", 'hidden_service_dir = "/var/lib/tor/web"\nports = [')
    (service,) = daemon._services(three.config, A, paths)
    assert service.directory == Path("/var/lib/tor/web")
    assert daemon._keyring(three.config, A, paths).has(service.address)  # it is still ours


def _without_key(three: Made, name: NodeId) -> NodePaths:
    paths = three.config.node(name).paths
    (paths.key_dir("web") / "hs_ed25519_secret_key").unlink()
    return paths


def test_only_a_learner_with_a_key_of_its_own_does_without_the_master_key(three: Made) -> None:
    three.edit('name = "c"', 'name = "c"\nrole = "learner"')
    for name in (B, C):
        with pytest.raises(KeyFileError, match="does not exist"):
            daemon._keyring(three.config, name, _without_key(three, name))
    three.edit("[cluster]", '[cluster]\nidentity = "instance"')
    (service,) = three.config.services
    keyring = daemon._keyring(three.config, C, three.config.node(C).paths)
    assert not keyring.has(service.address)
    with pytest.raises(KeyFileError, match="does not exist"):
        daemon._keyring(three.config, B, three.config.node(B).paths)


def test_node_leads_visitors_to_ports_of_its_own(three: Made) -> None:
    three.edit('name = "b"', 'name = "b"\nports = { web = ["81 127.0.0.1:1"] }')
    ports = [
        service.ports
        for name in (A, B)
        for service in daemon._services(three.config, name, three.config.node(name).paths)
    ]
    assert ports == [("80 127.0.0.1:8080",), ("81 127.0.0.1:1",)]


def test_managed_tor_has_a_binary_and_a_system_tor_an_endpoint(three: Made) -> None:
    password = three.toml.with_name("password")
    password.write_text("hunter2\n")
    password.chmod(0o600)
    system = '{ mode = "system", control = "127.0.0.1:9051", password_file = "password" }'
    three.edit('name = "b"', f'name = "b"\ntor = {system}')
    managed, theirs = (
        daemon._tor_settings(three.config, name, three.config.node(name).paths) for name in (A, B)
    )
    assert (managed.mode, managed.control, managed.binary) == (TorMode.MANAGED, None, "/bin/false")
    assert (theirs.mode, theirs.control) == (TorMode.SYSTEM, ("127.0.0.1", 9051))
    assert managed.tor_dir == three.config.node(A).paths.tor_dir
    assert theirs.password == "hunter2"
    assert "hunter2" not in repr(theirs)


def test_seed_says_what_cluster_toml_does(three: Made) -> None:
    three.edit('name = "c"', 'name = "c"\nrole = "learner"\nweight = 3')
    three.add("[publish]\nmax_intro_points = 7")
    seed = daemon._seed(three.config)
    assert seed.name == "test"
    assert seed.members == (
        Member(node=A, address="127.0.0.1:7000"),
        Member(node=B, address="127.0.0.1:7001"),
        Member(node=C, address="127.0.0.1:7002", role=Role.LEARNER, weight=3, wish=Wish.LEARNER),
    )
    assert seed.services == {three.config.services[0].address: "web"}
    assert seed.policy == Policy(max_intro_points=7, shuffle_seed=seed.policy.shuffle_seed)


def test_each_founder_draws_a_shuffle_seed_of_its_own(three: Made) -> None:
    seeds = {daemon._seed(three.config).policy.shuffle_seed for _ in range(3)}
    assert len(seeds) == 3


# --- what keeps it from starting


def run(made: Made) -> Result:
    return CliRunner().invoke(main, ["run", "--config", str(made.toml), "--node", "a"])


def refusal(made: Made, secrets: tuple[str, ...] = ()) -> str:
    """The one sentence with which `rbcluster run` ends."""
    result = run(made)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("rbcluster: ")
    assert not [secret for secret in secrets if secret in result.stderr]
    return line


def _foreign_key(made: Made) -> None:
    for file in made.key.parent.iterdir():
        file.unlink()
    write_key_directory(made.key.parent, IdentityKeypair.from_seed(bytes(32)))


def _tls_of(node: NodeId, issued_at: datetime) -> Callable[[Made], None]:
    def issue(made: Made) -> None:
        authority = pki.create_authority("test", issued_at)
        certificate = pki.issue_certificate(authority, node, issued_at)
        pki.write_node_tls(made.paths.tls_dir, authority, certificate)

    return issue


def _foreign_authority(made: Made) -> None:
    authority = pki.create_authority("test", datetime.now(UTC))
    other = made.toml.parent / "other"
    pki.write_authority(other, authority)
    (other / "ca.crt").replace(made.paths.tls_dir / "ca.crt")


def _place(made: Made) -> StoragePlace:
    return daemon._raft_settings(made.config, A, made.paths).storage


def _journal(made: Made) -> Path:
    machine = MachineState(daemon.STATE_MACHINE)
    open_storage(_place(made), machine).close()
    return made.paths.raft_dir / "journal"


def _flipped_bit(made: Made) -> None:
    journal = _journal(made)
    data = bytearray(journal.read_bytes())
    data[100] ^= 4
    journal.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "place", "rest"),
    [
        (lambda m: m.key.unlink(), "web/hs_ed25519_secret_key", "does not exist: check the path"),
        (lambda m: os.truncate(m.key, 50), "web/hs_ed25519_secret_key", "takes 96 bytes, not 50"),
        (lambda m: m.key.chmod(0o644), "web/hs_ed25519_secret_key", "chmod it to 0600"),
        (_foreign_key, "web/hs_ed25519_secret_key", "put the right key there, or mend the address"),
        (
            lambda m: (m.paths.tls_dir / "node.crt").unlink(),
            "tls/node.crt",
            "No such file or directory: copy it again from where `rbcluster init` was run",
        ),
        (
            lambda m: (m.paths.tls_dir / "node.key").chmod(0o640),
            "tls/node.key",
            "has mode 0640, others can read it: chmod 600",
        ),
        (_foreign_authority, "tls/node.crt", "was not issued by"),
        (_tls_of(B, datetime.now(UTC)), "tls/node.crt", "was issued to b, not to node a"),
        (
            _tls_of(A, datetime.now(UTC) - timedelta(days=400)),
            "tls/node.crt",
            "run `rbcluster certify DIR NODE`, copy the tls folder",
        ),
        (_flipped_bit, "raft/journal", "is damaged"),
        (lambda m: _journal(m).unlink(), "raft/journal", "it is missing, and with it the node's"),
        (lambda m: m.paths.raft_dir.touch(), "nodes/a/raft", "check its owner, mode and disk"),
        (lambda m: m.paths.api_socket.touch(), "a/api.sock", "is no socket: move it away"),
    ],
)
def test_what_is_wrong_before_the_start_ends_it_with_a_place_and_a_remedy(
    made: Made, spoil: Callable[[Made], object], place: str, rest: str
) -> None:
    secrets = made.secrets
    spoil(made)
    line = refusal(made, secrets)
    assert place in line
    assert rest in line


def test_data_directory_that_another_process_uses_is_refused(made: Made) -> None:
    machine = MachineState(daemon.STATE_MACHINE)
    storage = open_storage(_place(made), machine)
    line = refusal(made)
    storage.close()
    assert f"{made.paths.raft_dir} is in use by another process: stop that one" in line


def test_address_that_another_program_listens_on_is_refused(made: Made, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        line = refusal(made)
    assert f"can't listen on 127.0.0.1:{port} (Address already in use): check" in line


def test_password_file_that_everyone_can_read_is_refused(made: Made) -> None:
    password = made.toml.with_name("password")
    password.write_text("hunter2\n")
    password.chmod(0o644)
    made.edit('binary = "/bin/false"', 'mode = "system"\npassword_file = "password"')
    line = refusal(made, ("hunter2",))
    assert f"{password}: everyone can read or write it: chmod o= {password}" in line


# --- running


class Daemon:
    """A real `rbcluster run` of node a."""

    def __init__(self, made: Made, process: asyncio.subprocess.Process) -> None:
        self._socket = made.paths.api_socket
        self._process = process

    async def until(self, condition: Callable[[StatusDocument], bool]) -> StatusDocument:
        """Ask for its status until that is as wanted."""

        async def look() -> StatusDocument | None:
            assert self._process.returncode is None, "the daemon has ended"
            try:
                document = await fetch_status(self._socket)
            except NoDaemon:
                return None
            return document if condition(document) else None

        return await wait_for(look, "the status waited for", LIMIT_S)

    async def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Send a signal, if any, and return exit code and log."""
        if number is not None:
            self._process.send_signal(number)
        async with asyncio.timeout(LIMIT_S):
            _, log = await self._process.communicate()
        return self._process.returncode or 0, log.decode()


@contextlib.asynccontextmanager
async def running(made: Made, *before: str) -> AsyncIterator[Daemon]:
    options = ("--config", str(made.toml), "--node", "a", "--log-level", "debug")
    process = await asyncio.create_subprocess_exec(
        *(*before, str(COMMAND), "run", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        yield Daemon(made, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def leads(document: StatusDocument) -> bool:
    return document["cluster"]["leader"] == "a" and bool(document["services"])


async def test_status_is_answered_though_tor_cannot_start_and_says_why(made: Made) -> None:
    async with running(made) as node:
        document = await node.until(
            lambda d: leads(d) and "does not tell a Tor version" in str(d["nodes"][0]["faults"])
        )
        assert document["health"] == "degraded"
        assert (document["self"], document["cluster"]["name"]) == ("a", "test")
        (status,) = document["nodes"]
        assert (status["state"], status["can_publish"]) == ("leader", False)
        (fault,) = status["faults"]
        assert fault.startswith("'/bin/false' --version does not tell a Tor version; set tor.bin")
        _, log = await node.end(signal.SIGTERM)
    assert log.count("does not tell a Tor version") == 1  # tried again and again, said once


async def test_disk_that_takes_no_more_is_told_before_the_journal_needs_it(made: Made) -> None:
    made.paths.raft_dir.mkdir(parents=True, exist_ok=True)
    (made.paths.raft_dir / "probe").symlink_to("/dev/full")
    async with running(made) as node:
        document = await node.until(lambda d: leads(d) and len(d["nodes"][0]["faults"]) > 1)
        assert any("raft can't be written (No space" in f for f in document["nodes"][0]["faults"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_it_in_time_and_in_order(made: Made, number: signal.Signals) -> None:
    async with running(made) as node:
        await node.until(leads)
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        code, log = await node.end(number)
        assert loop.time() - asked_at < daemon.LEAVE_TIMEOUT_S + 1
    assert code == 0
    assert "node=a has stopped" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert not made.paths.api_socket.exists()


async def test_no_secret_is_logged_at_any_level(made: Made) -> None:
    async with running(made) as node:
        await node.until(leads)
        _, log = await node.end(signal.SIGTERM)
    assert "DEBUG" in log
    assert not [secret for secret in made.secrets if secret in log]


async def test_killed_daemon_comes_back_with_what_it_knew(made: Made) -> None:
    async with running(made) as node:
        before = await node.until(leads)
        await node.end(signal.SIGKILL)
    assert made.paths.api_socket.exists()  # left behind, and no obstacle
    async with running(made) as node:
        after = await node.until(leads)
    assert after["cluster"]["term"] > before["cluster"]["term"]
    assert after["services"] == before["services"]


async def test_second_daemon_is_refused_and_the_first_one_goes_on(made: Made) -> None:
    async with running(made) as first:
        await first.until(leads)
        async with running(made) as second:
            code, log = await second.end()
        assert (code, log.splitlines()[-1].partition(" is in use")[1]) == (1, " is in use")
        await first.until(leads)


async def test_disk_that_fails_ends_the_daemon_so_that_it_is_started_anew(made: Made) -> None:
    storage = open_storage(_place(made), MachineState(daemon.STATE_MACHINE))
    storage.journal.add(NO_OP, 1, 0)
    storage.journal.add(b"\0" + bytes(RESERVE_BYTES // SECTOR_BYTES * PAYLOAD_BYTES - 2000), 2, 1)
    storage.journal.flush()
    storage.close()
    async with running(made, "prlimit", f"--fsize={RESERVE_BYTES}") as node:
        code, log = await node.end()
    assert code == 1
    assert "CRITICAL rbcluster.raft.engine: the Raft engine stops node=a: " in log
    last = log.splitlines()[-1]
    assert last.startswith("rbcluster: the Raft engine stopped: ")
    assert "raft/journal can't be written (File too large): check its owner, mode and" in last
    assert "Traceback" not in log


def test_key_is_left_as_it_was_by_a_start_that_fails(made: Made) -> None:
    (made.paths.tls_dir / "node.crt").unlink()
    before = read_secret_key(made.key).public
    refusal(made)
    assert read_secret_key(made.key).public == before
