"""Everything that reaches into PySyncObj, each with its reason; nothing else does.

Names like ``_SyncObj__connectedNodes`` are private to the library and may change with any release.
So the release is pinned exactly, and `check_library` looks at every start whether each hook is
still there. Positions and messages are as in PySyncObj 0.3.17.

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
- ``__onMessageReceived`` is called by `Replica.receive`, which comes before it.

Not here: when to tick (`engine.py`), and what a message may look like (`messages.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from pysyncobj import syncobj
from pysyncobj.config import FAIL_REASON, SyncObjConf
from pysyncobj.monotonic import monotonic
from pysyncobj.syncobj import SyncObj
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from rbcluster.errors import RaftError
from rbcluster.raft import codec
from rbcluster.raft.canvass import Canvass
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.configuration import Configuration, ConfigurationLog
from rbcluster.raft.journal import Journal
from rbcluster.raft.limits import BATCH_BYTES, MAX_ENTRIES_PER_MESSAGE, MAX_PROPOSALS_IN_FLIGHT
from rbcluster.raft.messages import REGULAR, Message, command_of
from rbcluster.raft.pysyncobj_voters import Callback, ReplicaParts, VotersInPlace

SUPPORTED_VERSION = "0.3.17"

_MODULE_HOOKS = ("pickle", "createJournal", "PIPE_NOTIFIER_ENABLED")
_METHOD_HOOKS = (
    "_SyncObj__doApplyCommand",
    "_SyncObj__getEntries",
    "_SyncObj__loadDumpFile",
    "_SyncObj__onLeaderChanged",
    "_SyncObj__onMessageReceived",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__setCurrentTerm",
)
_ATTRIBUTE_HOOKS = (
    "_SyncObj__commandsWaitingCommit",
    "_SyncObj__commandsWaitingReply",
    "_SyncObj__connectedNodes",
    "_SyncObj__lastResponseTime",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__noopIDx",
    "_SyncObj__otherNodes",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftState",
    "_SyncObj__readonlyNodes",
    "_SyncObj__selfNode",
    "_SyncObj__serializer",
)


def check_library() -> None:
    """Check that the installed PySyncObj is the one that this file was written against.

    :raises RaftError: if it is another version, or lacks a hook.
    """
    missing = [name for name in _MODULE_HOOKS if not hasattr(syncobj, name)]
    missing += [name for name in _METHOD_HOOKS if name not in vars(SyncObj)]
    if VERSION != SUPPORTED_VERSION or missing:
        lacks = f" without {', '.join(missing)}" if missing else ""
        raise RaftError(
            f"PySyncObj {VERSION}{lacks} is installed, but rbcluster works with exactly "
            f"{SUPPORTED_VERSION}: install the locked requirements"
        )


def _patch_library() -> None:
    """Replace what SyncObj's constructor takes from its module. Doing it again changes nothing."""
    syncobj.pickle = codec
    syncobj.createJournal = _given_journal
    syncobj.PIPE_NOTIFIER_ENABLED = False


def _given_journal(journal: Journal) -> Journal:
    return journal


class Outbox(Transport):
    """The transport in PySyncObj's eyes: a function that sends. Links live elsewhere."""

    def __init__(self, send: Callable[[PeerNode, Message], bool]) -> None:
        super().__init__(None, None, None)
        self._send = send

    def send(self, node: PeerNode, message: Message) -> bool:
        """Queue a message; never blocks."""
        return self._send(node, message)

    def destroy(self) -> None:
        """Do nothing: links are closed by their owner."""


class Replica(VotersInPlace):
    """One node's Raft, driven from outside: no thread, no socket, no clock of its own.

    No property here: SyncObj's constructor evaluates every attribute before there is a state.
    """

    def __init__(self, parts: ReplicaParts) -> None:
        """Put a replica together from opened storage.

        :raises RaftError: if the installed PySyncObj is not the supported one.
        """
        check_library()
        _patch_library()
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
        missing = [name for name in _ATTRIBUTE_HOOKS if not hasattr(self, name)]
        if missing:
            raise RaftError(
                f"PySyncObj {VERSION} lacks {', '.join(missing)}: install the locked one"
            )
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

    def _answer_canvass(self, node: PeerNode, message: Message) -> None:
        """Agree to a peer's candidacy, or say nothing."""
        _, index, term = self._parts.journal[-1]
        is_behind = (message["last_log_term"], message["last_log_index"]) < (term, index)
        profile = self._parts.profile
        patience_s = profile.election_min_s - profile.append_s  # what it missed, we may just have
        if not (self._isLeader() or is_behind or self._heard_leader_within(patience_s)):
            known = {"term": message["term"], "known_term": self.raftCurrentTerm}
            self._send(node, {"type": "response_pre_vote", **known})

    def _count_agreement(self, node: PeerNode, message: Message) -> None:
        canvass = self._canvass
        if canvass is None or node not in self.otherNodes or self._isLeader():
            return
        canvass.agree(node, message["term"], message["known_term"])  # type: ignore[arg-type]
        if (above := canvass.won_above) is not None:
            self._canvass = None
            if above > self.raftCurrentTerm:
                self._SyncObj__setCurrentTerm(above, None)
            self._SyncObj__raftElectionDeadline = 0

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

    # Messages

    def receive(self, node: PeerNode, message: Message) -> None:
        """Hand a checked message to PySyncObj, made to mean what Raft says it means.

        - A voter's second response_vote in a term would count twice.
        - A follower's next_node_idx beyond the log would commit what nobody has.
        - append_entries: see `_confine`.
        - A refusal may carry the leader's reason, which PySyncObj would drop.
        - Of two leaders in one term, the second is none: there was one election.
        - The questions and answers of a canvass are ours.
        - Who has no vote here must neither be counted nor disturb a leader.
        - Who gives its vote, though it has none here, may be a voter to the one that asks.
        """
        if self._is_to_be_dropped(node, message) or self._is_ours(node, message):
            return
        if message["type"] == "append_entries":
            message = self._confine(message)
        is_asked = message["type"] == "request_vote"
        with self._able_to_vote() if is_asked else nullcontext():
            self._outbox._onMessageReceived(node, message)  # noqa: SLF001
        self._follow_configuration()

    def _is_to_be_dropped(self, node: PeerNode, message: Message) -> bool:
        kind = message["type"]
        return (
            self._is_beside_the_point(node, kind)
            or (kind == "response_vote" and self._is_counted(node, message))
            or (kind == "next_node_idx" and bool(message["success"]) and self._is_ahead(message))
            or (kind == "append_entries" and self._is_usurped(node, message))
        )

    def _is_ours(self, node: PeerNode, message: Message) -> bool:
        """Take what PySyncObj does not know; tell whether it was that."""
        match message["type"]:
            case "request_pre_vote":
                self._answer_canvass(node, message)
            case "response_pre_vote":
                self._count_agreement(node, message)
            case "apply_command_response" if "reason" in message:
                self._answer(message["request_id"], message["reason"], message["error"])
            case _:
                return False
        return True

    def _is_counted(self, node: PeerNode, message: Message) -> bool:
        term, voters = self._counted_votes
        if term != message["term"]:
            voters = set()
            self._counted_votes = (message["term"], voters)  # type: ignore[assignment]
        if node in voters:
            return True
        voters.add(node)
        return False

    def _is_usurped(self, node: PeerNode, message: Message) -> bool:
        term = message["term"]
        if term < self.raftCurrentTerm:  # type: ignore[operator]
            return False  # PySyncObj passes over it
        if self._isLeader():
            return bool(term == self.raftCurrentTerm)
        led_term, leader = self._led
        if term != led_term:
            self._led = (term, node)
            return False
        return node != leader

    def _is_ahead(self, message: Message) -> bool:
        return message["next_node_idx"] > self._parts.journal[-1][1] + 1  # type: ignore[operator]

    def _answer(self, request: Any, answer: object, code: Any) -> None:
        callback = self._SyncObj__commandsWaitingReply.pop(request, None)
        if callback is not None:
            callback(answer, code)

    def _confine(self, message: Message) -> Message:
        """Confine an append_entries to what it proves.

        PySyncObj takes everything up to its own last entry for committed, as it cuts the log first;
        while a snapshot arrives it does not even cut, and applies what only this node has. So the
        commit index is held at what this message shows to be the same here and there. And what is
        committed here is the leader's too: a message that begins earlier begins there instead.

        Raft paper figure 2, AppendEntries, receiver rule 5: index of last *new* entry.
        """
        if message["term"] >= self.raftCurrentTerm:  # type: ignore[operator]
            self._leader_heard_at = monotonic()
            self._canvass = None
        commit: int = self.raftCommitIndex
        told: int = message["commit_index"]  # type: ignore[assignment]
        if "serialized" in message:
            self._parts.snapshots.install_above = commit
            return {**message, "commit_index": min(told, commit)}
        previous: int | None = message["prevLogIdx"]  # type: ignore[assignment]
        entries: tuple[tuple[bytes, int, int], ...] = message["entries"]  # type: ignore[assignment]
        changes: Message = {}
        if previous is not None and previous < commit:
            entries = tuple(entry for entry in entries if entry[1] > commit)
            previous = commit
            term = self._SyncObj__getEntries(commit, 1)[0][2]
            changes = {"prevLogIdx": commit, "prevLogTerm": term, "entries": entries}
        proven = entries[-1][1] if entries else previous or 0
        return {**message, **changes, "commit_index": min(told, proven)}

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
