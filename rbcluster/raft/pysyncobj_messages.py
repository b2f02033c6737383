"""PySyncObj with every message made to mean what Raft says it means, before it acts on it.

What a message may look like `messages.py` has checked; here is what depends on the state of this
node. One more file that reaches into PySyncObj; `pysyncobj_patch.py` lists what is reached for.

Not here: who may send what (`linked_peers.py`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from rbcluster.raft.canvass import Canvass
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.messages import Message
from rbcluster.raft.pysyncobj_library import Outbox
from rbcluster.raft.pysyncobj_voters import VotersInPlace


class ConfinedMessages(VotersInPlace):
    """The part of a replica that takes messages.

    No property here: SyncObj's constructor evaluates every attribute before there is a state.
    """

    _outbox: Outbox
    _counted_votes: tuple[int, set[PeerNode]]
    _canvass: Canvass | None
    _led: tuple[object, PeerNode | None]  # a term, and who leads in it

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
        if message["term"] != self.raftCurrentTerm:  # of no election under way
            return True
        term, voters = self._counted_votes
        if term != self.raftCurrentTerm:
            voters = set()
            self._counted_votes = (self.raftCurrentTerm, voters)
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
            self._hear_leader()
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

    # A canvass

    def _answer_canvass(self, node: PeerNode, message: Message) -> None:
        """Agree to a peer's candidacy, or say nothing."""
        _, index, term = self._parts.journal[-1]
        is_behind = (message["last_log_term"], message["last_log_index"]) < (term, index)
        profile = self._parts.profile
        patience_s = profile.election_min_s - profile.append_s  # what it missed, we may just have
        if not (self._isLeader() or is_behind or self._heard_leader_within(patience_s)):
            known = {"term": message["term"], "known_term": self.raftCurrentTerm}
            self._outbox.send(node, {"type": "response_pre_vote", **known})

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
