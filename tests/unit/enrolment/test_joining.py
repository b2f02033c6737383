"""Host and guest over real TLS on loopback: who is let in, with what, and who is not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from rbcluster import pki
from rbcluster.agent.clock import SystemClock
from rbcluster.agent.operator import Operator
from rbcluster.agent.ports import Cluster
from rbcluster.config import (
    ClusterConfig,
    Config,
    NodePaths,
    Profile,
    TransportConfig,
    load_config,
    parse_config,
)
from rbcluster.core.apply import apply, apply_bytes
from rbcluster.core.commands import DropMember, SeedCluster, SetWish, Verdict
from rbcluster.core.ids import NodeId
from rbcluster.core.state import ClusterState, Member, Policy, Wish
from rbcluster.endpoint import HostPort
from rbcluster.enrolment.guest import Membership, ask_to_join, check_is_free, settle_in
from rbcluster.enrolment.host import GUEST_TIMEOUT_S, JoinHost, Means
from rbcluster.enrolment.token import Token
from rbcluster.errors import ConfigError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.lab.ports import PortReservation
from rbcluster.lab.waiting import wait_for
from rbcluster.raft.limits import MAX_HANDSHAKES_PER_SOURCE
from rbcluster.raft.proposal import Outcome, ProposalResult
from rbcluster.tor.key_directory import SECRET_KEY_NAME, read_secret_key, write_key_directory

A, D, E = NodeId("a"), NodeId("d"), NodeId("e")
D_ADDRESS = HostPort("192.0.2.4", 7300)
MASTER = IdentityKeypair.from_seed(bytes(32))
HOUR = timedelta(hours=1)


class LogOfOne:
    """As much of a cluster as an operator needs: a log, and what came of it."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.commands: list[bytes] = []  # whatever came of them

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:  # noqa: ARG002
        await asyncio.sleep(0)
        self.commands.append(command)
        self.state, verdict = apply_bytes(self.state, command)
        return ProposalResult(outcome=Outcome.COMMITTED, verdict=verdict, detail="")


@dataclass
class Scene:
    """A node that holds the authority, and room for a guest."""

    host: JoinHost
    log: LogOfOne
    paths: NodePaths
    listen: HostPort
    home: Path  # of the guest

    async def invite(self, wish: Wish = Wish.VOTER, lifetime: timedelta = HOUR) -> Token:
        return await self.host.invite(self.listen, lifetime, wish)

    def settle(self, membership: Membership, node: NodeId = D) -> Config:
        settle_in(membership, node, self.home / "data", self.home / "cluster.toml")
        return load_config(self.home / "cluster.toml")


def config() -> Config:
    return parse_config(
        {
            "cluster": {"name": "test"},
            "node": [{"name": "a", "address": "192.0.2.1:7300"}],
            "service": [
                {"name": "web", "address": str(OnionAddress(MASTER.public)), "ports": ["80"]}
            ],
        },
        base=Path("/"),
    )


@pytest.fixture(name="scene")
async def a_host(tmp_path: Path) -> AsyncIterator[Scene]:
    paths, now = NodePaths(tmp_path / "a"), datetime.now(UTC)
    authority = pki.create_authority("test", now)
    pki.write_authority(paths.authority_dir, authority)
    pki.write_node_tls(paths.tls_dir, authority, pki.issue_certificate(authority, A, now))
    write_key_directory(paths.key_dir("web"), MASTER)
    seed = SeedCluster(
        name="test",
        members=(Member(node=A, address="192.0.2.1:7300"),),
        services={OnionAddress(MASTER.public): "web"},
        policy=Policy(),
    )
    log = LogOfOne(apply(ClusterState(), seed)[0])
    means = Means(
        node=A,
        config=config(),
        paths=paths,
        operator=Operator(cast("Cluster", log), SystemClock()),
        clock=SystemClock(),
        read_keys=lambda: {"web": (paths.key_dir("web") / SECRET_KEY_NAME).read_bytes()},
    )
    ports = PortReservation()
    where = HostPort("127.0.0.1", ports.reserve())
    async with contextlib.aclosing(JoinHost(means)) as host:
        yield Scene(host, log, paths, where, tmp_path / "d")
    ports.close()


async def test_a_guest_gets_all_it_needs_and_its_key_never_travels(scene: Scene) -> None:
    token = await scene.invite()
    membership = await ask_to_join(token, D, D_ADDRESS)
    agreed = scene.log.state.members[D]
    assert (agreed.address, agreed.wish) == (str(D_ADDRESS), Wish.VOTER)
    made = scene.settle(membership)
    pki.verify_node_tls(scene.home / "data" / "tls", D, datetime.now(UTC))
    key = scene.home / "data" / "services" / "web" / SECRET_KEY_NAME
    assert read_secret_key(key).public == MASTER.public
    assert [node.name for node in made.nodes] == [A, D]
    assert made.cluster.id == config().cluster.id
    assert made.services == config().services
    assert made.cluster.founder == A  # never the guest, whatever its name


async def test_a_guest_is_told_the_policy_and_the_transport_of_the_cluster(scene: Scene) -> None:
    policy = replace(scene.log.state.policy, withdraw_after_ms=9_000)
    scene.log.state = replace(scene.log.state, policy=policy)
    told = config().model_copy(
        update={
            "cluster": ClusterConfig(name="test", profile=Profile.ONION),
            "transport": TransportConfig.model_validate({"via": "socks5://127.0.0.1:9150"}),
        }
    )
    scene.host.means = replace(scene.host.means, config=told)
    onion = HostPort(str(OnionAddress(MASTER.public)), 7300)
    made = scene.settle(await ask_to_join(await scene.invite(), D, onion))
    assert made.publish.withdraw_after == 9
    assert (made.transport, made.cluster.profile) == (told.transport, Profile.ONION)
    assert made.node(D).listen == HostPort("127.0.0.1", 7300)


async def test_a_token_is_worth_one_node(scene: Scene) -> None:
    token = await scene.invite()
    results = await asyncio.gather(
        *(ask_to_join(token, node, HostPort(f"{node}.example", 1)) for node in (D, E)),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, ConfigError)]
    assert len(refused) == 1
    assert len(scene.log.state.members) == 2


async def test_the_listener_closes_when_the_token_is_spent(scene: Scene) -> None:
    token = await scene.invite()
    await ask_to_join(token, D, D_ADDRESS)
    with pytest.raises(ConfigError, match=r"not let in|is the invitation still open"):
        await ask_to_join(token, E, HostPort("e.example", 1))


async def test_an_invitation_ends_by_itself(scene: Scene) -> None:
    token = await scene.invite(lifetime=timedelta(milliseconds=1))
    with pytest.raises(ConfigError, match=r"expired|is the invitation still open"):
        await ask_to_join(token, D, D_ADDRESS)
    assert scene.log.state.members.keys() == {A}


async def test_another_secret_is_not_let_in_and_spends_nothing(scene: Scene) -> None:
    token = await scene.invite()
    with pytest.raises(ConfigError, match="not let in: that token is not the one"):
        await ask_to_join(replace(token, secret=bytes(32)), D, D_ADDRESS)
    await ask_to_join(token, D, D_ADDRESS)


async def test_a_name_that_is_taken_spends_nothing(scene: Scene) -> None:
    token = await scene.invite()
    with pytest.raises(ConfigError, match="a is a member already"):
        await ask_to_join(token, A, D_ADDRESS)
    await ask_to_join(token, D, D_ADDRESS)
    assert len(scene.log.commands) == 3
    assert not any(token.secret in command for command in scene.log.commands)


async def test_the_secret_is_shown_only_to_whom_the_token_pins(scene: Scene) -> None:
    token = await scene.invite()
    with pytest.raises(ConfigError, match="is not of the cluster that the token is for"):
        await ask_to_join(replace(token, authority=bytes(32)), D, D_ADDRESS)
    assert scene.log.state.invitations.keys() == {token.digest}


async def test_without_the_authoritys_key_nobody_is_invited_and_the_way_is_told(
    scene: Scene,
) -> None:
    key = scene.paths.authority_dir / "ca.key"
    away = key.rename(key.with_name("away"))
    with pytest.raises(ConfigError, match=r"rbcluster certify DIR NODE.*rbcluster add.*as .*/a/ca"):
        await scene.invite()
    assert not scene.log.state.invitations
    away.rename(key)  # brought to a running node that was none to hold it when the cluster began
    await scene.invite()
    assert scene.log.state.invitations


async def test_nothing_is_written_over(scene: Scene) -> None:
    scene.home.mkdir()
    (scene.home / "cluster.toml").write_text("mine")
    with pytest.raises(ConfigError, match="nothing is written over"):
        check_is_free(scene.home / "data", scene.home / "cluster.toml")


@pytest.mark.parametrize("name", ["data/tls", "data/services"])
async def test_what_lies_in_the_way_is_found_before_the_token_is_spent(
    scene: Scene, name: str
) -> None:
    (scene.home / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"{name} exists: nothing is written over"):
        check_is_free(scene.home / "data", scene.home / "cluster.toml")


async def test_who_loses_the_answer_is_told_how_to_begin_anew_and_can(scene: Scene) -> None:
    token = await scene.invite()

    async def spend_and_die(command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        await LogOfOne.propose(scene.log, command, timeout_s)
        raise ConnectionResetError

    scene.log.propose = spend_and_die  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"answer was lost .*`rbcluster remove d` there; then"):
        await ask_to_join(token, D, D_ADDRESS)
    assert D in scene.log.state.members
    del scene.log.propose
    await scene.host.aclose()
    again = await scene.invite()
    with pytest.raises(ConfigError, match="if it never came to run, remove it first"):
        await ask_to_join(again, D, D_ADDRESS)
    scene.log.state, _ = apply(scene.log.state, SetWish(node=D, wish=Wish.GONE))
    scene.log.state, _ = apply(scene.log.state, DropMember(node=D))
    scene.settle(await ask_to_join(again, D, D_ADDRESS))


async def test_who_cant_write_down_what_it_got_is_told_how_to_begin_anew(scene: Scene) -> None:
    membership = await ask_to_join(await scene.invite(), D, D_ADDRESS)
    scene.home.mkdir()
    (scene.home / "data").write_text("no folder")
    with pytest.raises(ConfigError, match=r"can't be written.*Mend that, .*`rbcluster remove d`"):
        scene.settle(membership)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n", b'{"node": "d"}\n', b""])
async def test_a_stranger_is_let_go_and_the_token_stays_good(scene: Scene, said: bytes) -> None:
    token = await scene.invite()
    reader, writer = await asyncio.open_connection(scene.listen.host, scene.listen.port)
    writer.write(said)
    if said:
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until it is let go
    writer.close()
    await writer.wait_closed()
    await ask_to_join(token, D, D_ADDRESS)


async def until_closed(reader: asyncio.StreamReader, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(within_s):
            await reader.read()
            return True
    return False


async def test_a_crowd_that_says_nothing_is_no_larger_than_the_gate_is_wide(scene: Scene) -> None:
    await scene.invite()
    where = (scene.listen.host, scene.listen.port)
    crowd = [await asyncio.open_connection(*where) for _ in range(MAX_HANDSHAKES_PER_SOURCE)]
    late, writer = await asyncio.open_connection(*where)
    assert await until_closed(late, within_s=GUEST_TIMEOUT_S / 2)
    for _, each in (*crowd, (late, writer)):
        each.close()


async def test_a_crowd_that_shook_hands_and_says_nothing_keeps_no_guest_out(scene: Scene) -> None:
    token = await scene.invite()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    crowd = [
        await asyncio.open_connection(scene.listen.host, scene.listen.port, ssl=context)
        for _ in range(MAX_HANDSHAKES_PER_SOURCE)
    ]

    async def is_let_in() -> Membership | None:
        with contextlib.suppress(ConfigError):
            return await ask_to_join(token, D, D_ADDRESS)
        return None

    await wait_for(is_let_in, "a place among silent guests", GUEST_TIMEOUT_S / 2)
    for _, writer in crowd:
        writer.transport.abort()
