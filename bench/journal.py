"""What durability costs: the journal with and without waiting for the disk, snapshots, start-up.

Run: ``python -m bench.journal [--directory DIR]``, on the disk that is to hold the journal. Prints
median and 95th percentile.

- ``flush``: one entry of a publication's size into the journal of one node, no network
- ``commit``: one command at a time, three voters as real processes over TLS, on the leader
- ``snapshot``: encode and write the state, and write the trimmed journal anew
- ``start``: read, check and write anew what is there
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.figures import milliseconds, show, show_heading
from rbcluster import daemon
from rbcluster.core.commands import Verdict
from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.core.state import ClusterState, Member, NodeReport
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.limits import MAX_COMMAND_BYTES
from rbcluster.raft.machine import MachineState
from rbcluster.raft.profile import LAN
from rbcluster.raft.storage import Storage, StoragePlace, open_storage
from tests.cluster.processes import ProcessCluster
from tests.shared.builders import BLOG, IN_OFFICE, NOW, SHOP, point
from tests.shared.local_cluster import make_settings

FLUSHES = 500
COMMITS = 300
TRIALS = 30
ENTRY_BYTES = 1_500  # a reservation with 20 introduction points and 8 HSDirs, and room


def opened(directory: Path, state: ClusterState, *, sync: bool) -> Storage[ClusterState, Verdict]:
    machine: MachineState[ClusterState, Verdict] = MachineState(daemon.STATE_MACHINE)
    machine.current = state
    place = StoragePlace(
        directory=directory, cluster=ClusterId(bytes(16)), node=NodeId("a"), sync=sync
    )
    return open_storage(place, machine)


def timed(trials: int, work: Callable[[], object]) -> list[float]:
    """Do something again and again; return how long each took, in milliseconds."""
    took = []
    for _ in range(trials):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return milliseconds(took)


def flushes(directory: Path, *, sync: bool) -> list[float]:
    storage = opened(directory, IN_OFFICE, sync=sync)
    journal = storage.journal

    def flush() -> None:
        journal.add(bytes(ENTRY_BYTES), len(journal) + 1, 1)
        journal.flush()

    took = timed(FLUSHES, flush)
    storage.close()
    return took


async def commits(directory: Path, *, sync: bool) -> list[float]:
    settings = make_settings(directory, "abc")
    cluster = ProcessCluster(
        {node: replace(each, sync=sync) for node, each in settings.items()}, directory, "lan"
    )
    try:
        await cluster.start()
        leader = await cluster.leader()
        answer = await leader.ask(do="propose_many", num=COMMITS, width=1)
        return milliseconds(answer["took_s"])
    finally:
        await cluster.kill(*cluster.nodes)


def state_of(num_members: int) -> ClusterState:
    """A state in which every member reports ten introduction points for each of two services."""
    nodes = [NodeId(f"n{number}") for number in range(num_members)]
    return replace(
        IN_OFFICE,
        members={n: Member(node=n, address=f"{n}.example.org:7300") for n in nodes},
        pool={
            (service, node): NodeReport(
                origin=service,
                points=tuple(point(100 * number + i) for i in range(10)),
                traits=ServiceTraits(),
                reported_at=NOW,
            )
            for number, node in enumerate(nodes)
            for service in (SHOP, BLOG)
        },
    )


def snapshots(directory: Path, num_members: int) -> tuple[list[float], int]:
    storage = opened(directory, state_of(num_members), sync=True)
    journal = storage.journal
    for index in range(1, LAN.compact_entries):
        journal.add(bytes(ENTRY_BYTES), index, 1)
    journal.flush()

    def snapshot() -> None:
        first, last = journal[-2:]
        storage.snapshots.serialize((None, last, first, [PeerNode("a")]), first[1])
        journal.deleteEntriesTo(len(journal) - 2)

    took = timed(TRIALS, snapshot)
    storage.close()
    return took, (directory / "snapshot").stat().st_size


def starts(directory: Path, num_entries: int, entry_bytes: int) -> list[float]:
    storage = opened(directory, IN_OFFICE, sync=False)
    for index in range(1, num_entries + 1):
        storage.journal.add(bytes(entry_bytes), index, 1)
        storage.journal.flush()
    storage.close()
    return timed(TRIALS, lambda: opened(directory, IN_OFFICE, sync=True).close())


def main(base: Path) -> None:
    show_heading()
    for sync in (True, False):
        name = "with fsync" if sync else "without"
        show(f"flush {name}", flushes(base / f"flush {name}", sync=sync), "ms")
    for sync in (True, False):
        name = "with fsync" if sync else "without"
        show(f"commit {name}", asyncio.run(commits(base / f"c{sync:d}", sync=sync)), "ms")
    for num_members in (3, 300):
        took, size = snapshots(base / f"s{num_members}", num_members)
        show(f"snapshot, {num_members} nodes, {size // 1024} KiB", took, "ms")
    show("start, 2,000 short entries", starts(base / "short", 2_000, 400), "ms")
    largest = LAN.compact_bytes // MAX_COMMAND_BYTES
    show("start, 16 MiB of journal", starts(base / "long", largest, MAX_COMMAND_BYTES), "ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Benchmark of the journal.")
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().directory) as scratch:
        main(Path(scratch))
