"""What the mesh reports, brought to whom it is for: the replica, the electorate, the agent.

Whether a peer may send what it sends is decided here, by its certificate's name: by the form
(`messages.py`), by what it counts as (`linked_peers.py`), and for a command by the leader's word.

Not here: links (`transport.py`); what depends on the state of the log (`pysyncobj_patch.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pysyncobj.config import FAIL_REASON

from rbcluster.core.ids import NodeId
from rbcluster.errors import StorageError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.electorate import Electorate
from rbcluster.raft.frames import FrameKind, Hello
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.limits import MAX_REASON_CHARS
from rbcluster.raft.messages import BETWEEN_VOTERS, HEARTBEATS, Message, check_message
from rbcluster.raft.proposal import Outcome, ProposalResult, not_taken
from rbcluster.raft.pysyncobj_patch import Replica

logger = logging.getLogger(__name__)

S = TypeVar("S")
V = TypeVar("V")

OnMessage = Callable[[NodeId, bytes], None]
"""Called with sender and payload of a broadcast."""


@dataclass(frozen=True, slots=True)
class Running(Generic[S, V]):
    """What takes part, as long as the engine runs."""

    replica: Replica
    electorate: Electorate[S, V]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Generic[S, V]):
    """What is needed of the engine."""

    running: Callable[[], Running[S, V] | None]
    objection: Callable[[NodeId, bytes], ProposalResult[V] | None]  # to a peer's command
    send: Callable[[NodeId, Message], bool]
    wake: Callable[[], None]  # something is to be done
    fail: Callable[[Exception], None]  # this node's word can't be trusted any more
    on_message: OnMessage


class Receiver(Generic[S, V]):
    """The engine's ear: a `MeshListener`."""

    def __init__(self, host: Host[S, V]) -> None:
        self._host = host
        self.num_turned_away = dict.fromkeys(TurnedAway, 0)

    def greeting(self) -> Hello:
        """Return what this node says of itself on a new link.

        :raises ConnectionAbortedError: if it has nothing to say any more.
        """
        running = self._host.running()
        if running is None:  # the disk has failed, and the links are about to be closed
            raise ConnectionAbortedError("this node's engine is stopped")
        try:
            return running.electorate.greeting()
        except StorageError as error:
            self._host.fail(error)
            raise ConnectionAbortedError("this node's disk fails") from error

    def link_up(self, peer: NodeId, hello: Hello) -> None:
        """A peer can be reached."""
        if running := self._host.running():
            running.electorate.peers.link_up(peer, hello)
            running.electorate.found_if_due()
            self._host.wake()

    def link_down(self, peer: NodeId) -> None:
        """A peer can be reached no longer."""
        if running := self._host.running():
            running.electorate.peers.link_down(peer)
            self._host.wake()

    def link_full(self, peer: NodeId) -> None:
        """Too much waits to be sent to a peer."""
        if running := self._host.running():
            running.electorate.peers.hold_back(peer)

    def link_drained(self, peer: NodeId) -> None:
        """A peer can take more again."""
        if running := self._host.running():
            running.electorate.peers.let_go(peer)
            self._host.wake()

    def turned_away(self, why: TurnedAway) -> None:
        """A stranger was turned away."""
        self.num_turned_away[why] += 1

    def frame(self, peer: NodeId, kind: FrameKind, payload: object) -> None:
        """Take a frame from a peer.

        :raises MessageError: if no honest peer sends it.
        """
        running = self._host.running()
        if running is None:
            return
        if kind is FrameKind.AGENT and isinstance(payload, bytes):
            self._take_agent_message(peer, payload)
        elif kind is FrameKind.VOTERS:
            running.electorate.peers.take_hint(peer, payload)
        elif kind is FrameKind.SET_BACK:
            running.electorate.peers.take_reproach(peer)
        else:
            self._take_message(running, peer, check_message(payload, BETWEEN_VOTERS))

    def _take_agent_message(self, peer: NodeId, payload: bytes) -> None:
        try:
            self._host.on_message(peer, payload)
        except Exception:
            logger.exception("a bug: the taker of agents' messages raised")

    def _take_message(self, running: Running[S, V], peer: NodeId, message: Message) -> None:
        if not running.electorate.peers.may_send(peer, message["type"]):
            return
        running.electorate.peers.heed(peer, message)
        if message["type"] == "apply_command" and self._refuse_forwarded(running, peer, message):
            return
        pulse = running.replica.pulse() if message["type"] in HEARTBEATS else None
        try:
            running.replica.receive(PeerNode(peer.name), message)
            if pulse is not None and pulse == running.replica.pulse():
                return
            running.electorate.follow()
        except Exception as error:  # noqa: BLE001 - the rule is in the engine's docstring
            self._host.fail(error)
            return
        self._host.wake()

    def _refuse_forwarded(self, running: Running[S, V], peer: NodeId, message: Message) -> bool:
        """Tell whether a forwarded command was refused, and its proposer told so."""
        command = message["command"]
        assert isinstance(command, bytes)  # `check_message` saw to it
        # Where this node does not lead PySyncObj would queue the command, and take it unchecked
        # should an election be won before the next tick.
        objection: ProposalResult[V] | None = not_taken("the node that was asked does not lead")
        if running.replica.votes() and running.replica.is_leader():
            objection = self._host.objection(peer, command[1:])
        if objection is None:
            return False
        is_refused = objection.outcome is Outcome.REFUSED
        reason = "".join(c if c.isprintable() else "?" for c in objection.detail)
        answer: Message = {
            "type": "apply_command_response",
            "request_id": message["request_id"],
            "error": FAIL_REASON.REQUEST_DENIED if is_refused else FAIL_REASON.MISSING_LEADER,
            "reason": reason[:MAX_REASON_CHARS],
        }
        self._host.send(peer, answer)
        return True
