"""What a year of a cluster's work leaves on the disk: no more than a month of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from rbcluster import daemon
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import Applied, Command, Verdict
from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.core.state import ClusterState, Policy
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.machine import MachineState
from rbcluster.raft.profile import LAN
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.pysyncobj_voters import ReplicaParts
from rbcluster.raft.storage import StoragePlace, open_storage
from tests.shared.builders import (
    HSDIRS,
    NODES,
    SEED,
    point,
    record_round,
    report,
    reserve,
    take_office,
)

HOUR_MS = 3_600_000
YEAR_HOURS = 8_760
EIGHT_HSDIRS = HSDIRS + tuple(Fingerprint(bytes([100 + number]) * 20) for number in range(4))

# docs/storage.md states these two for such a cluster: three nodes, one service, 20 points on show.
MAX_JOURNAL_BYTES = 3 * 2**20
MAX_SNAPSHOT_BYTES = 36 * 2**10  # the last two entries, too: a report is 12 kB


def work(num_hours: int) -> Iterator[Command]:
    """Found a cluster, and publish both descriptors anew every hour; every day new points, too."""
    yield replace(SEED, policy=Policy(upload_burst=50))
    yield take_office()
    for hour in range(num_hours):
        if hour % 24 == 0:
            points = {
                node: [point(1000 * (1 + number) + hour + i) for i in range(7)]
                for number, node in enumerate(NODES)
            }
            for node in NODES:
                yield replace(report(node, *points[node]), descriptor=bytes(12_000))
            shown = [each for node in NODES for each in points[node]][:20]
        for slot in (0, 1):
            number, revision = 20_000 + hour // 24 + slot, 1 + hour
            yield reserve(
                revision,
                number=number,
                at=report(NODES[0]).reported_at + hour * HOUR_MS,
                hsdirs=EIGHT_HSDIRS,
                points=shown,
            )
            yield record_round(revision, number=number, accepted=EIGHT_HSDIRS)


class OnlyVoter:
    """A cluster of one, as the daemon runs it, on a disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.machine: MachineState[ClusterState, Verdict] = MachineState(daemon.STATE_MACHINE)
        place = StoragePlace(
            directory=directory, cluster=ClusterId(bytes(16)), node=NodeId("ada"), sync=False
        )
        self.storage = open_storage(place, self.machine)
        # Nothing but the time-outs differs from what nodes run with: an election at once.
        profile = replace(
            LAN,
            append_s=0.0001,
            leader_fallback_s=0.0005,
            election_min_s=0.001,
            election_max_s=0.002,
        )
        self.replica = Replica(
            ReplicaParts(
                node=PeerNode("ada"),
                incarnation=self.storage.owner.incarnation,
                base=lambda: {NodeId("ada"): None},
                profile=profile,
                journal=self.storage.journal,
                snapshots=self.storage.snapshots,
                apply=self.machine.apply,
                send=lambda _node, _message: False,
            )
        )
        while not self.replica.is_leader():
            self.replica.tick()

    def commit(self, commands: list[Command]) -> list[object]:
        verdicts: list[object] = []
        for command in commands:
            self.replica.submit(
                encode_command(command), lambda verdict, _code: verdicts.append(verdict)
            )
        while len(verdicts) < len(commands):
            self.replica.tick()
        return verdicts

    def size(self, name: str) -> int:
        path = self.directory / name
        return path.stat().st_size if path.exists() else 0


def largest_after(directory: Path, num_hours: int) -> tuple[int, int]:
    """Work for so long; return the largest journal and the largest snapshot there ever was."""
    node = OnlyVoter(directory)
    commands = work(num_hours)
    journal = snapshot = 0
    while some := list(islice(commands, 50)):
        assert set(node.commit(some)) == {Applied()}
        journal, snapshot = max(journal, node.size("journal")), max(snapshot, node.size("snapshot"))
    node.storage.close()
    return journal, snapshot


def test_month_of_hourly_rotations_stays_within_the_stated_bounds(tmp_path: Path) -> None:
    journal, snapshot = largest_after(tmp_path, 30 * 24)
    assert 0 < journal <= MAX_JOURNAL_BYTES
    assert 0 < snapshot <= MAX_SNAPSHOT_BYTES


@pytest.mark.long
def test_year_of_hourly_rotations_takes_no_more_than_a_month(tmp_path: Path) -> None:
    journal, snapshot = largest_after(tmp_path, YEAR_HOURS)
    assert 0 < journal <= MAX_JOURNAL_BYTES
    assert 0 < snapshot <= MAX_SNAPSHOT_BYTES
