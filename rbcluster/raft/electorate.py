"""Who votes, seen from one node: founding, changes of the voters, and links that follow both.

Between the state machine, whose members say who belongs to the cluster, the replica, which counts
votes by the log, and the linked peers.

Not here: committing anything (`engine.py`), which change is wanted (`core/membership.py`).

Overview::

    Electorate
      |- base()              who votes where the log says nothing
      |- begin(links)        start to keep the links
      |- follow()            state or log may have changed
      |- entry_for(command)  a configuration entry, or why it can't be made now
      +- found_if_due()      become the one voter of a new cluster
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Generic, TypeVar

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.core.membership import voters_of
from rbcluster.core.state import Member
from rbcluster.errors import SchemaError
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.configuration import Configuration, encode_entry
from rbcluster.raft.frames import Hello
from rbcluster.raft.linked_peers import LinkedPeers, PeerLinks
from rbcluster.raft.machine import MachineState
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.replay import replay
from rbcluster.raft.roll import Roll
from rbcluster.raft.settings import RaftSettings
from rbcluster.raft.storage import Storage

S = TypeVar("S")
V = TypeVar("V")


class CantReconfigure(Exception):  # noqa: N818 - an answer, not a mistake
    """A change of the members can't be begun; the text says why."""


class Electorate(Generic[S, V]):
    """What one node knows, and does, about who votes."""

    def __init__(
        self, settings: RaftSettings, machine: MachineState[S, V], storage: Storage[S, V]
    ) -> None:
        self._settings = settings
        self._machine = machine
        self._storage = storage
        self._founded: Configuration = {}  # of a founder, until its first command is in the log

    def base(self) -> Configuration:
        """Say who votes where the log doesn't: as of the snapshot, or as told at the start."""
        state = self._storage.snapshots.state
        if state is not None and (members := self._members_of(state)):
            return voters_of(members)
        return self._founded or dict.fromkeys(self._settings.static_voters)

    def _members_of(self, state: S) -> Mapping[NodeId, Member]:
        """Return who belongs to the cluster; nobody is known where the voters never change."""
        return {} if self._settings.founding is None else self._machine.members(state)

    def begin(self, replica: Replica, links: PeerLinks) -> None:
        """Start to keep the links of a replica that was made with this `base`."""
        self._replica = replica
        self._foresee()
        roll = Roll(
            node=self._settings.node,
            votes=replica.votes(),
            configuration=replica.configuration(),
            configured_at=replica.configured_as_of(),
            told=self._settings.told,
            members=self._foreseen,
        )
        founding = self._settings.founding
        named = frozenset() if founding is None else founding.voters
        self.peers = LinkedPeers(replica, links, roll, named=named)

    def _foresee(self) -> None:
        """Find out who belongs to the cluster if all of the log is committed.

        A node that starts applies nothing before a leader tells it what is committed; and whom it
        must link with to have one may stand only in what is not applied yet.
        """
        self._foreseen_up_to = self._storage.journal[-1][1:]
        machine = self._machine.unused()
        if self._settings.founding is not None:
            with contextlib.suppress(SchemaError):  # it stops this node when that is applied
                replay(self._storage.snapshots, self._storage.journal[:], machine)
        self._foreseen = self._members_of(machine.current)

    def follow(self) -> None:
        """Let links, and what they count as, follow the state and the log."""
        self.peers.follow(self._members() or self.peers.members)

    def _members(self) -> Mapping[NodeId, Member]:
        index, term = self._foreseen_up_to
        if self._replica.raftLastApplied >= index:
            return self._members_of(self._machine.current)
        journal = self._storage.journal
        position = index - journal[0][1]
        if not 0 <= position < len(journal) or journal[position][2] != term:
            self._foresee()  # another leader's entries took the place of those that were looked at
        return self._foreseen

    def greeting(self) -> Hello:
        """Return what this node says of itself on a new link.

        :raises StorageError: if the disk fails: it must hold what is said.
        """
        journal = self._storage.journal
        journal.flush()
        return Hello(
            node=self._settings.node,
            cluster=self._settings.cluster,
            incarnation=self._storage.owner.incarnation,
            is_founded=bool(self._replica.configuration()),
            term=journal.getCurrentTerm(),
            last_index=journal[-1][1],
        )

    @property
    def storages(self) -> Mapping[NodeId, Incarnation]:
        """The storage of this node, and of each linked peer."""
        return {**self.peers.storages, self._settings.node: self._storage.owner.incarnation}

    def is_caught_up(self, peer: NodeId) -> bool:
        """Tell whether a linked peer has acknowledged, to this leader, all that is committed."""
        return (
            self._replica.is_leader()
            and peer in self.peers.storages
            and self._replica.holds_all_committed(PeerNode(peer.name))
        )

    def entry_for(self, command: bytes) -> bytes:
        """Make the configuration entry of a command, for the log as it is now.

        The command is tried on this node's state first: one that would be refused, or would change
        more than one vote, never enters the log. docs/decisions/0006 says why the trial holds.

        :raises CantReconfigure: if it would, or this node can't decide that now.
        """
        reason = self._replica.reason_against_reconfiguring()
        if reason is not None:
            raise CantReconfigure(reason)
        state, verdict = self._machine.trial(command)
        members = self._members_of(state)
        if state is self._machine.current:
            raise CantReconfigure(f"it changes nothing: {verdict}")
        before = self._replica.configuration()
        voters = voters_of(members) if members else before
        self._check_step(before, voters)
        return encode_entry(voters, command)

    def _check_step(self, before: Configuration, after: Configuration) -> None:
        come, gone = after.keys() - before.keys(), before.keys() - after.keys()
        swapped = [n for n in before.keys() & after.keys() if before[n] not in (None, after[n])]
        if self._settings.node not in after:
            raise CantReconfigure("the leader must be among the voters: hand over first")
        if len(come) + len(gone) > 1 or swapped:
            raise CantReconfigure("only one vote may change at a time")
        for node in come:
            here = self.storages.get(node)
            if not self.is_caught_up(node) or after[node] not in (None, here):
                raise CantReconfigure(f"{node} has not caught up")

    def found_if_due(self) -> bool:
        """Become the one voter of a new cluster, if this node is to found it and nobody has."""
        founding = self._settings.founding
        if founding is None or founding.founder != self._settings.node:
            return False
        hellos = self.peers.hellos.values()
        if self._replica.configuration() or any(hello.is_founded for hello in hellos):
            return False
        fresh = founding.voters & {founding.founder, *self.peers.hellos}
        if 2 * len(fresh) <= len(founding.voters):
            return False
        self._founded = {founding.founder: self._storage.owner.incarnation}
        self._replica.stand_alone()
        self.follow()
        return True
