"""PySyncObj with voters that change in place, as the log says.

One of the files that reach into it: PySyncObj fixes a node's role at construction, and its own
dynamic membership has a guard that is dead code. So ``__selfNode`` and ``__otherNodes`` are changed
here, while the replica runs: no leader loses its office over it, and what is known of a peer's log
stays known. `pysyncobj_library.py` checks at every start that each hook is still there.

Not here: which change is wanted (`core/membership.py`) or may be begun (`electorate.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pysyncobj import syncobj
from pysyncobj.monotonic import monotonic
from pysyncobj.syncobj import SyncObj

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.configuration import Configuration, ConfigurationLog
from rbcluster.raft.journal import Journal
from rbcluster.raft.messages import Message
from rbcluster.raft.profile import RaftProfile
from rbcluster.raft.snapshot import SnapshotStore

Callback = Callable[[Any, int], None]
"""Called with a verdict (or a reason, or None) and one of ``FAIL_REASON``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaParts:
    """What a `Replica` is put together from."""

    node: PeerNode
    incarnation: Incarnation  # of this storage: who votes under this name with another is not us
    base: Callable[[], Configuration]  # where the log says nothing; may be nobody
    profile: RaftProfile
    journal: Journal
    snapshots: SnapshotStore[Any, Any]
    apply: Callable[[bytes], object]  # gets a command as it was submitted; must not raise
    send: Callable[[PeerNode, Message], bool]


class VotersInPlace(SyncObj):
    """The part of a replica that knows who votes; `Replica` is made of it.

    No property here: SyncObj's constructor evaluates every attribute before there is a state.
    """

    _parts: ReplicaParts
    _configurations: ConfigurationLog
    _voters: Configuration
    _append_wanted: bool
    _leader_heard_at: float  # monotonic seconds

    def _spread(self) -> float:
        """Choose a random part of the span in which elections begin, so that votes don't split."""
        profile = self._parts.profile
        return (profile.election_max_s - profile.election_min_s) * random.random()  # noqa: S311

    # Who votes

    def configuration(self) -> Configuration:
        """Return the last configuration in the log."""
        return self._voters

    def configured_at(self) -> int:
        """Return the index of the entry that says who votes; 0 if no entry does."""
        found = self._configurations.last
        return 0 if found is None else found[0]

    def configured_as_of(self) -> int:
        """Return the index as of which this node knows who votes: an entry's, or its snapshot's."""
        head = self._parts.snapshots.head
        return self.configured_at() or (0 if head is None else head[1][1])

    def votes(self) -> bool:
        """Tell whether this node, with this storage, has a vote."""
        return self._SyncObj__selfNode is not None

    def holds_all_committed(self, node: PeerNode) -> bool:
        """Tell whether a peer has acknowledged, to this leader, all that is committed."""
        return bool(self._SyncObj__raftMatchIndex.get(node, 0) >= self.raftCommitIndex)

    def has_led_to(self, index: int) -> bool:
        """Tell whether this node leads, and made this entry, or one before it, since it does."""
        return self._isLeader() and bool(
            self._SyncObj__noopIDx <= index <= self._parts.journal[-1][1]
        )

    def forget_acknowledged(self, node: PeerNode) -> None:
        """Count nothing as held by a peer any more."""
        if node in self._SyncObj__raftMatchIndex:
            self._SyncObj__raftMatchIndex[node] = 0

    def reason_against_reconfiguring(self) -> str | None:
        """Say why this node may not append a configuration entry now; None if it may.

        The last configuration must be committed, and an entry of this leader's own term: without
        the latter, two leaders could each take away another's majority (Raft thesis 4.1, and the
        correction to it of July 2015).
        """
        if not self._isLeader():
            return "this node does not lead"
        if self.raftLastApplied < self._SyncObj__noopIDx:
            return "the leader has only just been elected"
        if self.configured_at() > self.raftLastApplied:
            return "another change of the members is under way"
        return None

    def reconfigure(self, entry: bytes, callback: Callback) -> None:
        """Append a configuration entry, and count by it from now on.

        Not through PySyncObj's queue: nothing may come between the checks and the entry.
        """
        index = self._parts.journal[-1][1] + 1
        term = self.raftCurrentTerm
        self._parts.journal.add(entry, index, term)
        self._SyncObj__commandsWaitingCommit[index].append((term, callback))
        self._append_wanted = True
        self._follow_configuration()

    def _is_beside_the_point(self, node: PeerNode, kind: object) -> bool:
        """Tell whether a message is none that this node, with its configuration, should act upon.

        A voter that was demoted while it was away stands for election until it hears that; so what
        it asks for counts only where no leader is heard. Then it must: this node may be the one
        that has not heard yet. Raft thesis 4.2.3.
        """
        if node in self._SyncObj__otherNodes:
            return False
        if kind in {"request_vote", "request_pre_vote"}:
            return self._isLeader() or self.hears_leader()
        if kind == "next_node_idx":
            return node not in self._SyncObj__readonlyNodes
        return kind == "response_vote"

    @contextmanager
    def _able_to_vote(self) -> Iterator[None]:
        """Let PySyncObj answer a request for votes, though by this node's log it has none to give.

        The log may be behind: a voter that was let in just before the leader died may be needed to
        elect the next one, which holds the entry that lets it in. Whether the vote counts is for
        who asks to say, by its own configuration. Raft thesis 4.1; term and vote are kept as ever.
        """
        had = self._SyncObj__selfNode
        self._SyncObj__selfNode = self._parts.node
        try:
            yield
        finally:
            self._SyncObj__selfNode = had

    def hears_leader(self) -> bool:
        """Tell whether a leader was heard not so long ago."""
        return self._heard_leader_within(self._parts.profile.forget_leader_s)

    def _hear_leader(self) -> None:
        self._leader_heard_at = monotonic()

    def _heard_leader_within(self, seconds: float) -> bool:
        return monotonic() - self._leader_heard_at < seconds

    def stand_alone(self) -> None:
        """Follow a changed `base`, and be elected by the next tick if it names nobody else."""
        self._follow_configuration()
        self._SyncObj__raftElectionDeadline = 0

    def _follow_configuration(self) -> None:
        found = self._configurations.last
        voters = self._parts.base() if found is None else found[1]
        if voters != self._voters:
            self._configure(voters)

    def _configure(self, voters: Configuration) -> None:
        """Make these the voters: what PySyncObj's `__doChangeCluster` does, and its own role."""
        self._voters = voters
        known: set[Any] = self._SyncObj__otherNodes
        others = {PeerNode(voter.name) for voter in voters} - {self._parts.node}
        for node in known - others:
            for nodes in (known, self._SyncObj__connectedNodes):
                nodes.discard(node)
            for by_node in (self._SyncObj__raftNextIndex, self._SyncObj__raftMatchIndex):
                by_node.pop(node, None)
        for node in others - known:
            self._SyncObj__readonlyNodes.discard(node)
            known.add(node)
            self._SyncObj__raftNextIndex.setdefault(node, self._parts.journal[-1][1] + 1)
            self._SyncObj__raftMatchIndex.setdefault(node, 0)
            self._SyncObj__lastResponseTime[node] = monotonic()
        self._set_vote(voters)

    def _set_vote(self, voters: Configuration) -> None:
        node = NodeId(self._parts.node.id)
        votes = node in voters and voters[node] in (None, self._parts.incarnation)
        if votes and not self.votes():
            profile = self._parts.profile
            self._SyncObj__selfNode = self._parts.node
            self._SyncObj__raftElectionDeadline = (
                monotonic() + self._spread() + profile.election_min_s
            )
        elif self.votes() and not votes:
            self._SyncObj__selfNode = None
            if self._SyncObj__raftState != syncobj._RAFT_STATE.FOLLOWER:  # noqa: SLF001
                self._SyncObj__raftState = syncobj._RAFT_STATE.FOLLOWER  # noqa: SLF001
                self._SyncObj__raftLeader = None
