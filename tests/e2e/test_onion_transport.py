"""Nodes that know no IP address of each other: their links run through onion services.

A tor of their own publishes one onion service for each node and dials the others'; the tors that
serve visitors publish nothing by themselves, so they can't.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.endpoint import HostPort
from rbcluster.lab.network import BOOTSTRAPPED, PrivateNetwork
from rbcluster.lab.ports import LOOPBACK, PortReservation
from rbcluster.lab.tor_process import TorProcess
from rbcluster.raft.engine import RaftEngine
from rbcluster.raft.profile import PROFILES
from rbcluster.raft.proposal import Outcome
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.view import Role
from tests.shared.certificates import tls_files
from tests.shared.ledger import LEDGER, Ledger

PORT = 7300
LIMIT_S = 150.0  # services to be published, circuits to be built, and an election of 20 s

Engine = RaftEngine[Ledger, int]


@asynccontextmanager
async def link_tor(
    network: PrivateNetwork, names: Sequence[NodeId], directory: Path
) -> AsyncIterator[list[RaftSettings]]:
    """Run a tor for the links of all nodes; yield how each is reached behind it."""
    ports = PortReservation()
    via, *listen = [HostPort(LOOPBACK, ports.reserve()) for _ in ("via", *names)]
    place = network.directory / "link-tor"
    lines = [*network.client_torrc_lines, f"SocksPort {via}"]
    for node, target in zip(names, listen, strict=True):
        lines += [f"HiddenServiceDir {place}/{node}", f"HiddenServicePort {PORT} {target}"]
    tor = TorProcess(place, lines)
    tls = tls_files(directory / "tls", names)
    try:
        tor.start()
        await tor.wait_for_log(BOOTSTRAPPED, LIMIT_S)
        onions = {node: (place / node.name / "hostname").read_text().strip() for node in names}
        yield [
            RaftSettings(
                cluster=ClusterId(bytes(range(16))),
                node=node,
                listen=(target.host, target.port),
                peers={peer: (onions[peer], PORT) for peer in names if peer != node},
                data_dir=directory / node.name,
                tls=tls[node],
                profile=PROFILES["onion"],
                via=via,
            )
            for node, target in zip(names, listen, strict=True)
        ]
    finally:
        tor.kill()
        ports.close()


async def until_led(engines: list[Engine]) -> Engine:
    """Wait until all nodes are linked and follow one leader."""
    changed = asyncio.Event()
    endings = [engine.subscribe(changed.set) for engine in engines]
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                changed.clear()
                leaders = [e for e in engines if e.view.role is Role.LEADER]
                told = {engine.view.leader for engine in engines}
                linked = all(len(e.view.connected) == len(engines) - 1 for e in engines)
                if linked and len(leaders) == 1 and len(told) == 1:
                    return leaders[0]
                await changed.wait()
    finally:
        for end in endings:
            end()


async def test_nodes_linked_through_onion_services_elect_and_commit(
    network: PrivateNetwork, tmp_path: Path
) -> None:
    names = [NodeId(name) for name in "abc"]
    async with link_tor(network, names, tmp_path) as settings:
        engines = [Engine(each, LEDGER) for each in settings]
        try:
            for engine in engines:
                await engine.start()
            leader = await until_led(engines)
            for number, engine in enumerate(engines, start=1):
                result = await engine.propose(b"%d" % number, LIMIT_S)
                assert (result.outcome, result.verdict) == (Outcome.COMMITTED, number)
            assert leader.state == (b"1", b"2", b"3")
        finally:
            await asyncio.gather(*(engine.stop() for engine in engines))
