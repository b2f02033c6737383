"""Links that are dialled through a SOCKS proxy, to names that only the proxy knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.endpoint import HostPort
from rbcluster.raft.settings import Address, RaftSettings
from tests.shared.local_cluster import (
    PATIENT,
    LocalCluster,
    commit,
    eventually,
    make_settings,
    running,
)

A, B = NodeId("a"), NodeId("b")


class Proxy:
    """A SOCKS 5 proxy that leads names to addresses, and takes note of user names."""

    def __init__(self, places: dict[str, Address]) -> None:
        self._places = places
        self.visits: list[tuple[str, str]] = []  # user, name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == b"\x05\x02\x00\x02"
        writer.write(b"\x05\x02")
        await reader.readexactly(1)
        user = await self._read_counted(reader)
        await self._read_counted(reader)
        writer.write(b"\x01\x00")
        assert await reader.readexactly(4) == b"\x05\x01\x00\x03"
        name = await self._read_counted(reader)
        await reader.readexactly(2)
        self.visits.append((user, name))
        there = await asyncio.open_connection(*self._places[name])
        writer.write(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        async with asyncio.TaskGroup() as both:
            both.create_task(self._copy(reader, there[1]))
            both.create_task(self._copy(there[0], writer))

    @staticmethod
    async def _read_counted(reader: asyncio.StreamReader) -> str:
        (length,) = await reader.readexactly(1)
        return (await reader.readexactly(length)).decode()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def proxied(settings: dict[NodeId, RaftSettings]) -> AsyncIterator[LocalCluster]:
    """Start a cluster whose nodes know each other by names under .onion alone."""
    proxy = Proxy({f"{node}.onion": each.listen for node, each in settings.items()})
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        via = HostPort(*server.sockets[0].getsockname())
        cluster = LocalCluster(
            {
                node: replace(
                    each, via=via, peers={peer: (f"{peer}.onion", 7300) for peer in each.peers}
                )
                for node, each in settings.items()
            }
        )
        async with running(cluster):
            yield cluster
        assert proxy.visits == [("b", "b.onion")]  # a circuit of its own for each peer


async def test_nodes_that_know_only_names_of_the_proxy_elect_and_commit(tmp_path: Path) -> None:
    async with proxied(make_settings(tmp_path, "ab", profile=PATIENT)) as cluster:
        leader = await cluster.elect(A)
        assert (await commit(leader, b"one")).verdict == 1
        await cluster.agree(b"one")


@pytest.mark.unhurried  # it waits until the complaint is due
async def test_a_proxy_that_can_not_be_reached_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(tmp_path, "ab", profile=PATIENT)
    unreachable = replace(settings[A], via=HostPort("127.0.0.1", 1))
    async with running(LocalCluster({A: unreachable})):
        await eventually(lambda: "no link with b: Connection refused" in caplog.text, "it is said")
