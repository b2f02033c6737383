"""The engine: one node's replicated state, and the only door to it.

::

    propose ──> PySyncObj ──> journal, links ──> committed ──> StateMachine.apply ──> state, verdict
                   ^ tick: on a message, on a proposal, at the next deadline; never on a period

Everything runs in one asyncio loop. When the disk fails, the log holds what only a newer release
knows, or PySyncObj raises, the engine stops for good (`failure`): its word could not be trusted any
more. If it leads, it has another node stand for election first; that needs no disk.

Not here: links (`transport.py`) and what comes over them (`receiver.py`), what a command means
(`StateMachine`), Raft itself (PySyncObj, behind `pysyncobj_patch.py`).

Overview::

    RaftEngine
      |- start, stop
      |- propose(command, timeout_s) -> ProposalResult
      |- reconfigure(command, timeout_s)       for those that change who votes: the leader's alone
      |- is_caught_up(peer)
      |- state, view, failure, num_turned_away, subscribe(callback) -> unsubscribe
      |- transfer(to, timeout_s)
      +- broadcast(payload)            to the agents of the other nodes; on_message receives
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Generic, TypeVar

from rbcluster.core.ids import LogIndex, NodeId, Term
from rbcluster.errors import RaftError, RbclusterError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.electorate import CantReconfigure, Electorate
from rbcluster.raft.frames import FrameKind
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.handover import HandOver
from rbcluster.raft.limits import (
    MAX_AGENT_BYTES,
    MAX_COMMAND_BYTES,
    MAX_PROPOSALS_IN_FLIGHT,
)
from rbcluster.raft.machine import MachineState, StateMachine
from rbcluster.raft.messages import Message
from rbcluster.raft.observers import Observers
from rbcluster.raft.proposal import (
    ProposalResult,
    conclude,
    not_taken,
    refused,
    unknown,
)
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.pysyncobj_voters import Callback, ReplicaParts
from rbcluster.raft.receiver import Host, OnMessage, Receiver, Running
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.storage import Storage, open_storage
from rbcluster.raft.transport import MakeMesh, Mesh
from rbcluster.raft.view import RaftView, Role

logger = logging.getLogger(__name__)

S = TypeVar("S")
V = TypeVar("V")

Admit = Callable[[NodeId, bytes], str | None]
"""Called on the leader with proposer and command; a str says why it may not enter the log."""

_HANDING_OVER = "the leadership is being handed over: propose again"
_STOPPED = "this node's engine is stopped"


def admit_all(_sender: NodeId, _command: bytes) -> str | None:
    """Let every command into the log."""
    return None


def ignore_message(_sender: NodeId, _payload: bytes) -> None:
    """Drop a broadcast."""


class RaftEngine(Generic[S, V]):
    """Replicates a state machine among the nodes of a cluster."""

    def __init__(
        self,
        settings: RaftSettings,
        machine: StateMachine[S, V],
        *,
        admit: Admit = admit_all,
        on_message: OnMessage = ignore_message,
        make_mesh: MakeMesh = Mesh,
    ) -> None:
        self._settings = settings
        self._machine = MachineState(machine)
        self._admit = admit
        self._receiver = Receiver(
            Host(
                running=self._running,
                objection=self._objection_of_leader,
                send=self._send_to,
                wake=self._wake,
                fail=self._fail,
                on_message=on_message,
            )
        )
        self._mesh = make_mesh(settings, self._receiver)
        self._replica: Replica | None = None
        self._storage: Storage[S, V] | None = None
        self._electorate: Electorate[S, V] | None = None
        self._failure: Exception | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_woken = False
        self._proposals: set[asyncio.Future[ProposalResult[V]]] = set()
        self._observers = Observers()
        self._hand_over = HandOver(
            node=settings.node,
            profile=settings.profile,
            replica=self._ticked,
            view=lambda: self.view,
            observers=self._observers,
        )
        self._view = self._idle_view()
        self._notified_state: S = machine.initial

    def _idle_view(self) -> RaftView:
        settings = self._settings
        return RaftView(
            role=Role.LEARNER if settings.learner else Role.FOLLOWER,
            leader=None,
            term=Term(0),
            commit_index=LogIndex(1),
            last_applied=LogIndex(1),
            voters=tuple(sorted(settings.static_voters)),
            connected=frozenset(),
            has_quorum=False,
        )

    def _running(self) -> Running[S, V] | None:
        if self._replica is None or self._electorate is None:
            return None
        return Running(self._replica, self._electorate)

    # Life

    async def start(self) -> None:
        """Open the storage, listen, and take part.

        :raises StorageError: if the data directory can't be trusted or used.
        :raises SchemaError: if a newer release wrote the state in it.
        :raises ConfigError: if the certificate files can't be used.
        :raises RaftError: if the address can't be listened on, or PySyncObj is not the pinned one.
        """
        settings = self._settings
        storage = open_storage(settings.storage, self._machine)
        try:
            electorate = Electorate(settings, self._machine, storage)
            replica = Replica(
                ReplicaParts(
                    node=PeerNode(settings.node.name),
                    incarnation=storage.owner.incarnation,
                    base=electorate.base,
                    profile=settings.profile,
                    journal=storage.journal,
                    snapshots=storage.snapshots,
                    apply=self._machine.apply,
                    send=self._send,
                )
            )
            electorate.begin(replica, self._mesh)
            self._storage, self._electorate, self._replica = storage, electorate, replica
            await self._mesh.start()
        except BaseException:
            self._replica = self._storage = self._electorate = None
            storage.close()
            raise
        electorate.found_if_due()
        self._tick()

    async def stop(self) -> None:
        """Leave in order; proposals that wait end as unknown. May be called again."""
        await self._leave()
        self._halt()

    def _leave(self) -> asyncio.Task[None]:
        """Close the links, once: what was sent before may still arrive."""
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_task(self._mesh.stop())
        return self._leaving

    def _halt(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._replica = self._electorate = None
        if self._storage is not None:
            self._storage.close()
            self._storage = None
        for proposal in tuple(self._proposals):
            if not proposal.done():
                proposal.set_result(unknown(_STOPPED))
        self._notify()

    def _fail(self, error: Exception) -> None:
        """Stop for good, at once: what this node would say now could be wrong."""
        if self._failure is not None:
            return
        self._failure = error
        is_foreseen = isinstance(error, RbclusterError)
        logger.critical(
            "the Raft engine stops node=%s: %s",
            self._settings.node,
            error,
            exc_info=None if is_foreseen else error,
        )
        heir = None if self._replica is None or not is_foreseen else self._replica.abdicate()
        if heir is not None:
            logger.warning("node=%s is asked to take the leadership over", heir.id)
        self._halt()
        self._leave()

    @property
    def failure(self) -> Exception | None:
        """What stopped the engine, if it was not `stop`. Subscribers are called when it is set."""
        return self._failure

    @property
    def num_turned_away(self) -> Mapping[TurnedAway, int]:
        """How many connections from outside did not become links, since the start."""
        return MappingProxyType(self._receiver.num_turned_away)

    # Ticks

    def _wake(self) -> None:
        """Tick as soon as what is being done is done; several wishes make one tick."""
        if not self._is_woken:  # else a steady stream of messages would put it off for ever
            self._is_woken = True
            self._arm(0.0)

    def _arm(self, delay_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if delay_s is None else loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._is_woken = False
        if self._replica is None or self._electorate is None:
            return
        try:
            self._replica.tick()
            self._electorate.follow()
        except Exception as error:  # noqa: BLE001 - the rule is in the module's docstring
            self._fail(error)
            return
        if not self._is_woken:
            self._arm(self._replica.due_in())
        self._notify()

    # What is known

    @property
    def state(self) -> S:
        """The replicated state, as far as this node has applied the log."""
        return self._machine.current

    @property
    def view(self) -> RaftView:
        """What this node knows of the cluster right now."""
        return self._view if self._replica is None else self._look(self._replica)

    def _look(self, replica: Replica) -> RaftView:
        is_leader = replica.is_leader()
        leader = replica.leader()
        return RaftView(
            role=self._role(replica, is_leader=is_leader),
            leader=None if leader is None else NodeId(leader.id),
            term=Term(replica.raftCurrentTerm),
            commit_index=LogIndex(replica.raftCommitIndex),
            last_applied=LogIndex(replica.raftLastApplied),
            voters=tuple(sorted(replica.configuration())),
            connected=self._mesh.connected,
            has_quorum=replica.is_heard_by_majority() if is_leader else leader is not None,
            set_back=frozenset() if self._electorate is None else self._electorate.peers.set_back,
            storages={} if self._electorate is None else self._electorate.storages,
        )

    def _role(self, replica: Replica, *, is_leader: bool) -> Role:
        if not replica.votes():
            return Role.LEARNER
        if is_leader:
            return Role.LEADER
        return Role.CANDIDATE if replica.is_candidate() else Role.FOLLOWER

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called after every change of state, view or failure.

        :returns: a function that ends it.
        """
        return self._observers.subscribe(callback)

    def _notify(self) -> None:
        view = self.view
        if self._replica is None:
            view = self._idle_view()
        elif view == self._view and self._machine.current is self._notified_state:
            return
        self._view, self._notified_state = view, self._machine.current
        self._observers.notify()

    # Proposals

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[V]:
        """Ask for a command to be committed, through the leader if this node is not it.

        :param command: 1 .. `limits.MAX_COMMAND_BYTES` bytes.
        :param timeout_s: after which the outcome is unknown.
        """
        replica = self._replica
        objection = self._objection(command)
        if replica is None or objection is not None:
            return objection or not_taken(_STOPPED)
        return await self._outcome_of(lambda settle: replica.submit(command, settle), timeout_s)

    async def _outcome_of(
        self, submit: Callable[[Callback], None], timeout_s: float
    ) -> ProposalResult[V]:
        proposal: asyncio.Future[ProposalResult[V]] = asyncio.get_running_loop().create_future()
        self._proposals.add(proposal)
        try:
            submit(partial(_settle, proposal))
            self._wake()
            async with asyncio.timeout(timeout_s):
                return await proposal
        except TimeoutError:
            return unknown(f"no outcome within {timeout_s:g} s")
        finally:
            self._proposals.discard(proposal)

    def _objection(self, command: bytes) -> ProposalResult[V] | None:
        """Return how a command of this node ends before it is proposed, or None."""
        if not 0 < len(command) <= MAX_COMMAND_BYTES:
            return refused(f"a command has 1 to {MAX_COMMAND_BYTES} bytes, this one {len(command)}")
        if self._replica is None:
            return not_taken(_STOPPED)
        if len(self._proposals) >= MAX_PROPOSALS_IN_FLIGHT:
            return not_taken("too many proposals are waiting")
        leader = self.view.leader
        if leader is None:
            return not_taken("no leader is known")
        if leader == self._settings.node:
            return self._objection_of_leader(leader, command)
        can_reach = leader in self._mesh.connected
        return None if can_reach else not_taken(f"leader {leader} can't be reached")

    def _objection_of_leader(self, sender: NodeId, command: bytes) -> ProposalResult[V] | None:
        if self._hand_over.is_under_way:
            return not_taken(_HANDING_OVER)
        try:
            reason = self._admit(sender, command)
        except Exception:
            logger.exception("a bug: the check of a command from %s raised", sender)
            reason = "the leader failed to check it"
        return None if reason is None else refused(reason)

    # Who votes

    async def reconfigure(self, command: bytes, timeout_s: float) -> ProposalResult[V]:
        """Commit a command that changes who belongs to the cluster, or who votes; leader only.

        It is refused while it can't be begun (`Electorate.entry_for`); one at a time can.
        """
        replica, electorate = self._replica, self._electorate
        if replica is None or electorate is None:
            return not_taken(_STOPPED)
        if self._hand_over.is_under_way:
            return not_taken(_HANDING_OVER)
        try:
            entry = electorate.entry_for(command)
        except CantReconfigure as reason:
            return refused(str(reason))

        def submit(settle: Callback) -> None:
            replica.reconfigure(entry, settle)
            electorate.follow()  # at once: a link may end before the next tick

        return await self._outcome_of(submit, timeout_s)

    def is_caught_up(self, peer: NodeId) -> bool:
        """Tell whether a linked peer has acknowledged, to this leader, all that is committed."""
        return self._electorate is not None and self._electorate.is_caught_up(peer)

    # Leadership

    async def transfer(self, to: NodeId | None, timeout_s: float) -> None:
        """Hand the leadership to another voter: to the one most caught up if `to` is None.

        Proposals are refused meanwhile, for PySyncObj does it only when no entry is in flight.

        :raises NotLeader: if this node does not lead.
        :raises RaftError: if no other voter, or another than `to`, took it in time.
        """
        await self._hand_over.to(to, timeout_s)

    def _ticked(self) -> Replica:
        self._tick()  # what was taken in must be in the log, else the successor's lacks it
        if self._replica is None:
            raise RaftError(_STOPPED)
        return self._replica

    # Agents' messages

    def broadcast(self, payload: bytes) -> None:
        """Send a payload to every connected node's `on_message`; it may get lost.

        :param payload: at most `limits.MAX_AGENT_BYTES`.
        :raises ValueError: if it is longer.
        """
        if len(payload) > MAX_AGENT_BYTES:
            raise ValueError(f"a message has at most {MAX_AGENT_BYTES} bytes, not {len(payload)}")
        for peer in sorted(self._mesh.connected):  # a set's order differs from process to process
            self._mesh.send(peer, FrameKind.AGENT, payload)

    def tell(self, peer: NodeId, payload: bytes) -> bool:
        """Send a payload to one node's `on_message`; it may get lost.

        :returns: False if the node is not connected.
        """
        return self._mesh.send(peer, FrameKind.AGENT, payload)

    def reload_certificate(self) -> None:
        """Show the certificate on disk to whoever connects from now on.

        :raises ConfigError: if it can't be used; then the former one is still shown.
        """
        self._mesh.reload_certificate()

    def _send(self, node: PeerNode, message: Message) -> bool:
        return self._send_to(NodeId(node.id), message)

    def _send_to(self, peer: NodeId, message: Message) -> bool:
        return self._mesh.send(peer, FrameKind.RAFT, message)


def _settle(proposal: asyncio.Future[ProposalResult[V]], answer: V | str | None, code: int) -> None:
    if not proposal.done():
        proposal.set_result(conclude(answer, code))
