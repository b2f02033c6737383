"""Everything that reaches into PySyncObj, each with its reason; nothing else does.

Names like ``_SyncObj__connectedNodes`` are private to the library and may change with any release.
So the release is pinned exactly, and `pysyncobj_library.py` looks at every start whether each hook
is still there. Positions and messages are as in PySyncObj 0.3.17.

Changed or replaced here:

- ``syncobj.pickle`` is `codec`: nothing read from disk or link may run code.
- ``syncobj.createJournal`` takes the opened `Journal` in place of a file name.
- ``syncobj.PIPE_NOTIFIER_ENABLED`` is off: it would open a pipe that is never closed.
- ``__serializer`` is a `SnapshotStore`.
- ``__doApplyCommand`` gives plain commands to the state machine raw, and those in configuration
  entries; all else is a no-op, so no entry of PySyncObj's own can change membership or version.
- ``__selfNode`` and ``__otherNodes`` follow the last configuration in the log, in place
  (`pysyncobj_voters.py`).
- ``__getEntries`` bounds the number of entries in a message.
- ``__sendAppendEntries`` is gathered to one a tick: one message per peer, one disk sync.
- ``__loadDumpFile`` tells the proposals that a snapshot has overtaken.
- ``__raftElectionDeadline`` is moved until a majority has agreed to an election; it is then zero,
  as after timeout_now, and ``__setCurrentTerm`` takes over the term that they know.
- ``__lastResponseTime`` leaves out the time in which this process did not run.
- ``__connectedNodes`` leaves out a node whose link is full: PySyncObj has no flow control.
- ``__onMessageReceived`` is called by `Replica.receive`, which comes before it
  (`pysyncobj_messages.py`).

Not here: when to tick (`engine.py`), and what a message may look like (`messages.py`).
"""

from __future__ import annotations

from pysyncobj import syncobj
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.monotonic import monotonic

from rbcluster.raft.canvass import Canvass
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.configuration import Configuration, ConfigurationLog
from rbcluster.raft.limits import BATCH_BYTES, MAX_ENTRIES_PER_MESSAGE, MAX_PROPOSALS_IN_FLIGHT
from rbcluster.raft.messages import REGULAR, Message, command_of
from rbcluster.raft.pysyncobj_library import (
    Outbox,
    check_library,
    check_replica,
    patch_library,
)
from rbcluster.raft.pysyncobj_messages import ConfinedMessages
from rbcluster.raft.pysyncobj_voters import Callback, ReplicaParts


class Replica(ConfinedMessages):
    """One node's Raft, driven from outside: no thread, no socket, no clock of its own.

    No property here: SyncObj's constructor evaluates every attribute before there is a state.
    """

    def __init__(self, parts: ReplicaParts) -> None:
        """Put a replica together from opened storage.

        :raises RaftError: if the installed PySyncObj is not the supported one.
        """
        check_library()
        patch_library()
        self._parts = parts
        self._append_wanted = False
        self._counted_votes: tuple[int, set[PeerNode]] = (0, set())
        self._leader_heard_at = float("-inf")
        self._ticked_at = monotonic()
        self._canvass: Canvass | None = None
        self._led: tuple[object, PeerNode | None] = (0, None)  # a term, and who leads in it
        self._outbox = Outbox(self._send)
        self._configurations = ConfigurationLog(parts.journal)
        self._voters: Configuration = {}
        super().__init__(
            None,
            (),
            _configuration(parts),
            nodeClass=PeerNode,
            transport=self._outbox,
        )
        check_replica(self)
        self._SyncObj__serializer = parts.snapshots
        self._follow_configuration()

    # Driving it

    def tick(self) -> None:
        """Do all that is due now. What follows from it and must be durable, is.

        :raises StorageError: if the disk fails; this replica must not be used any more.
        """
        self._parts.journal.flush()  # a leader counts its own entries as durable
        self._forgive_unread_answers()
        self._ask_before_standing()
        if self._parts.journal.size_bytes > self._parts.profile.compact_bytes:
            self.forceLogCompaction()
        self.doTick(0.0)
        if self._append_wanted:
            self._append_wanted = False
            if self._isLeader():
                super()._SyncObj__sendAppendEntries()
        self._parts.journal.flush()

    def _ask_before_standing(self) -> None:
        """Where PySyncObj would stand for election now, ask the voters first; ask again later.

        It stands when the deadline is zero: see `_count_agreement`, and timeout_now.
        """
        now = monotonic()
        is_due = 0 < self._SyncObj__raftElectionDeadline < now
        if self._isLeader() or not (is_due and self.otherNodes and self._may_stand()):
            return
        pause_s = (self._parts.profile.election_min_s + self._spread()) / 2
        self._SyncObj__raftElectionDeadline = now + pause_s
        self._canvass = Canvass(self.raftCurrentTerm + 1, len(self.otherNodes) + 1)
        _, index, term = self._parts.journal[-1]
        question: Message = {"last_log_index": index, "last_log_term": term}
        for node in self.otherNodes:
            self._outbox.send(
                node, {"type": "request_pre_vote", "term": self._canvass.term, **question}
            )

    def _forgive_unread_answers(self) -> None:
        """Don't step down because this process did not listen: who was frozen has answers to read.

        A leader ticks once an append period; by what it is late, all its peers are heard later.
        """
        now = monotonic()
        late_s = now - self._ticked_at - self._parts.profile.append_s
        self._ticked_at = now
        if self._isLeader() and late_s > self._parts.profile.append_s:
            answered = self._SyncObj__lastResponseTime
            answered.update({node: min(now, at + late_s) for node, at in answered.items()})

    def due_in(self) -> float | None:
        """Tell in how many seconds the next tick is due; None: only an event can make it so."""
        if self._append_wanted or self._commits_alone():
            return 0.0
        deadlines = []
        if self._isLeader():
            deadlines.append(self._SyncObj__newAppendEntriesTime)
        else:
            if self._may_stand():
                deadlines.append(self._SyncObj__raftElectionDeadline)
            if self.hears_leader():
                deadlines.append(self._leader_heard_at + self._parts.profile.forget_leader_s)
        if not deadlines:
            return None
        return max(0.0, min(deadlines) - monotonic()) + 0.001  # "due" is strictly after

    def pulse(self) -> object:
        """Return what a mere heartbeat leaves as it is; None while something is to be done at once.

        Most messages are heartbeats and their acknowledgements: a tick for each would double what
        a node at rest costs.
        """
        last: int = self._parts.journal[-1][1]
        if self._append_wanted or not last == self.raftCommitIndex == self.raftLastApplied:
            return None
        return last, self.raftCurrentTerm, self._SyncObj__raftState, self.leader()

    def _commits_alone(self) -> bool:
        """Tell whether the only voter has entries that the next tick commits."""
        is_alone = self._isLeader() and not self.otherNodes
        return is_alone and self.raftCommitIndex < self._parts.journal[-1][1]

    def _may_stand(self) -> bool:
        return self.votes() and bool(self._SyncObj__connectedNodes or not self.otherNodes)

    def submit(self, command: bytes, callback: Callback) -> None:
        """Propose a command, through the leader if this node is not it, at the next tick."""
        self._applyCommand(command, callback, REGULAR)

    # Links

    def link_up(self, node: PeerNode, *, is_learner: bool) -> None:
        """Take note of a new link."""
        if is_learner:
            self._outbox._onReadonlyNodeConnected(node)  # noqa: SLF001
            return
        self._outbox._onNodeConnected(node)  # noqa: SLF001

    def link_down(self, node: PeerNode, *, is_learner: bool) -> None:
        """Take note of a lost link: transfers over it are void, and so are awaited replies."""
        self._parts.snapshots.cancel(node)
        if is_learner:
            self._outbox._onReadonlyNodeDisconnected(node)  # noqa: SLF001
            return
        self._outbox._onNodeDisconnected(node)  # noqa: SLF001
        if node == self._getLeader():
            self._SyncObj__onLeaderChanged()

    def hold_back(self, node: PeerNode) -> None:
        """Send this peer no entries: its link is full. PySyncObj has no flow control of its own."""
        self._SyncObj__connectedNodes.discard(node)

    def let_go(self, node: PeerNode) -> None:
        """Send this peer entries again, where the last ones left off."""
        self._SyncObj__connectedNodes.add(node)
        self._append_wanted = True

    def _send(self, node: PeerNode, message: Message) -> bool:
        self._parts.journal.flush()  # entries, term and vote before anyone is told of them
        was_sent = self._parts.send(node, message)
        request = message.get("request_id")
        if not was_sent and message["type"] == "apply_command" and isinstance(request, int):
            self._answer(request, None, FAIL_REASON.MISSING_LEADER)
        return was_sent

    def abdicate(self) -> PeerNode | None:
        """Have the follower most caught up stand at once; a leader that must stop asks for it.

        It needs no disk. What this leader could not write it has sent to nobody, so whoever is most
        caught up among the others may win.

        :returns: who was asked, if this node leads and anyone could be.
        """
        reached = self.otherNodes & self._SyncObj__connectedNodes
        if not self._isLeader() or not reached:
            return None
        heir = max(reached, key=lambda node: (self._SyncObj__raftMatchIndex[node], node.id))
        assert isinstance(heir, PeerNode)
        was_sent = self._parts.send(heir, {"type": "timeout_now", "term": self.raftCurrentTerm})
        return heir if was_sent else None

    # What it knows

    def is_leader(self) -> bool:
        """Tell whether this node believes that it leads."""
        return self._isLeader()

    def is_candidate(self) -> bool:
        """Tell whether this node stands for election."""
        return self._SyncObj__raftState == syncobj._RAFT_STATE.CANDIDATE  # noqa: SLF001

    def leader(self) -> PeerNode | None:
        """Return the leader, unless it has been silent too long: PySyncObj never forgets it."""
        leader = self._getLeader()
        if not self._isLeader() and not self.hears_leader():
            return None
        return leader if isinstance(leader, PeerNode) else None

    def is_heard_by_majority(self) -> bool:
        """Tell whether a majority, this leader included, answered within the fallback time."""
        since = monotonic() - self._parts.profile.leader_fallback_s
        heard = [
            n for n in self.otherNodes if self._SyncObj__lastResponseTime.get(n, since) > since
        ]
        return 2 * (len(heard) + 1) > len(self.otherNodes) + 1

    # Overridden

    def _SyncObj__doApplyCommand(self, command: bytes) -> object:  # noqa: N802
        own = command_of(command)
        return None if own is None else self._parts.apply(own)

    def _SyncObj__getEntries(  # noqa: N802
        self,
        fromIDx: int | None,  # noqa: N803
        count: int | None = None,
        maxSizeBytes: int | None = None,  # noqa: N803
    ) -> list[tuple[bytes, int, int]]:
        if maxSizeBytes is not None:
            count = MAX_ENTRIES_PER_MESSAGE
        return super()._SyncObj__getEntries(fromIDx, count, maxSizeBytes)

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        self._append_wanted = True

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: N802, N803
        super()._SyncObj__loadDumpFile(clearJournal)
        overtaken = [i for i in self._SyncObj__commandsWaitingCommit if i <= self.raftLastApplied]
        for index in overtaken:
            for _, callback in self._SyncObj__commandsWaitingCommit.pop(index):
                callback(None, FAIL_REASON.UNKNOWN_OUTCOME)


def _configuration(parts: ReplicaParts) -> SyncObjConf:
    profile = parts.profile
    return SyncObjConf(
        autoTick=False,
        raftMinTimeout=profile.election_min_s,
        raftMaxTimeout=profile.election_max_s,
        appendEntriesPeriod=profile.append_s,
        appendEntriesUseBatch=False,
        appendEntriesBatchSizeBytes=BATCH_BYTES,
        leaderFallbackTimeout=profile.leader_fallback_s,
        connectionTimeout=2 * profile.election_max_s,  # of its own transport, unused; only checked
        commandsWaitLeader=False,  # with True a proposal without a leader gets no answer at all
        commandsQueueSize=2 * MAX_PROPOSALS_IN_FLIGHT,  # own ones, and those of followers
        logCompactionMinEntries=profile.compact_entries,
        logCompactionMinTime=profile.compact_s,
        dynamicMembershipChange=False,
        useFork=False,
        journalFile=parts.journal,
        fullDumpFile=str(parts.snapshots.path),
    )
