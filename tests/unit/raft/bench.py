"""One replica with nobody at the other end: a test plays its peers, message by message."""

from __future__ import annotations

from pathlib import Path

from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import Message
from rbcluster.raft.profile import LAN
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.pysyncobj_voters import ReplicaParts
from rbcluster.raft.storage import StoragePlace, open_storage
from tests.shared.ledger import LEDGER, Ledger

PEERS = [PeerNode(name) for name in "bcde"]
B, C = PEERS[:2]


CLUSTER = ClusterId(bytes(16))


def place(directory: Path, node: str = "a", cluster: ClusterId = CLUSTER) -> StoragePlace:
    """Where the replica's storage is."""
    return StoragePlace(directory=directory, cluster=cluster, node=NodeId(node))


class Bench:
    """A replica, of five voters unless told otherwise, with nobody at the other end."""

    def __init__(
        self, directory: Path, *, cluster: ClusterId = CLUSTER, voters: str = "abcde"
    ) -> None:
        self.machine = MachineState(LEDGER)
        self.storage = open_storage(place(directory, cluster=cluster), self.machine)
        self.sent: list[tuple[PeerNode, Message]] = []
        self.is_sending = True
        self.replica = Replica(
            ReplicaParts(
                node=PeerNode("a"),
                incarnation=self.storage.owner.incarnation,
                base=lambda: dict.fromkeys(map(NodeId, voters)),
                profile=LAN,
                journal=self.storage.journal,
                snapshots=self.storage.snapshots,
                apply=self.machine.apply,
                send=self._send,
            )
        )
        self.replica.tick()

    def _send(self, node: PeerNode, message: Message) -> bool:
        self.sent.append((node, message))
        return self.is_sending

    def append(
        self,
        previous: tuple[int, int],
        *entries: tuple[bytes, int, int],
        commit: int,
        term: int = 1,
    ) -> None:
        """Receive entries from b, and tick."""
        message: Message = {
            "type": "append_entries",
            "term": term,
            "commit_index": commit,
            "prevLogIdx": previous[0],
            "prevLogTerm": previous[1],
            "entries": entries,
        }
        self.replica.receive(B, message)
        self.replica.tick()

    def stand(self) -> None:
        """Make this node a candidate now."""
        for peer in PEERS:
            self.replica.link_up(peer, is_learner=False)
        self.replica._SyncObj__raftElectionDeadline = 0
        self.replica.tick()
        assert self.replica.is_candidate()

    def state(self) -> Ledger:
        return self.machine.current


def entry(index: int, term: int = 1) -> tuple[bytes, int, int]:
    return (b"\x00%d/%d" % (index, term), index, term)
