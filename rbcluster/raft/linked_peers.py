"""The linked peers of one node: what each counts as, told to the replica whenever that changes.

Between the mesh, which knows certificates and connections, and the replica, which knows voters and
learners. A link stays up when its peer gains or loses a vote; only who is no member is cut off.

Not here: who is who (`roll.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.core.state import Member
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.frames import FrameKind, Hello
from rbcluster.raft.messages import BETWEEN_VOTERS, FROM_LEARNER, Message
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.roll import NOTHING, Hint, Roll, Standing
from rbcluster.raft.set_back import Progress, Witness
from rbcluster.raft.settings import Address
from rbcluster.raft.throttle import Throttle

logger = logging.getLogger(__name__)

_ALLOWED = {
    Standing.VOTER: BETWEEN_VOTERS,
    Standing.NEWER: BETWEEN_VOTERS,
    Standing.LEARNER: FROM_LEARNER,
    Standing.STRANGER: frozenset[str](),
}


class PeerLinks(Protocol):
    """What is needed of the mesh."""

    def set_peers(self, dialled: Mapping[NodeId, Address], welcome: frozenset[NodeId]) -> None:
        """Dial these, let those in, and cut all others off."""

    def send(self, peer: NodeId, kind: FrameKind, payload: object) -> bool:
        """Queue a frame for a peer; False if there is no link to it."""


class LinkedPeers:
    """Who is linked, as what."""

    def __init__(
        self,
        replica: Replica,
        links: PeerLinks,
        roll: Roll,
        *,
        named: frozenset[NodeId] = frozenset(),
    ) -> None:
        """Keep the links of a replica.

        :param named: whom this node was told of as voters: their word is taken while it knows of
            none.
        """
        self._named = named
        self._replica = replica
        self._links = links
        self._roll = roll
        self._hellos: dict[NodeId, Hello] = {}
        self._standings: dict[NodeId, Standing] = {}
        self._witness = Witness()
        self._throttle = Throttle()
        self._told: Hint | None = None
        self._point_out_peers()

    @property
    def members(self) -> Mapping[NodeId, Member]:
        """Who belongs to the cluster, as far as is known."""
        return self._roll.members

    @property
    def storages(self) -> Mapping[NodeId, Incarnation]:
        """The storage of each linked peer, unless it was set back: that is as good as none."""
        return {
            peer: hello.incarnation
            for peer, hello in self._hellos.items()
            if not self._witness.is_set_back(peer)
        }

    @property
    def set_back(self) -> frozenset[NodeId]:
        """The linked peers whose disk knows less than they had told this node."""
        return frozenset(filter(self._witness.is_set_back, self._hellos))

    @property
    def hellos(self) -> Mapping[NodeId, Hello]:
        """What each linked peer said of itself."""
        return self._hellos

    def is_welcome(self, peer: NodeId) -> bool:
        """Tell whether a node may be linked, as far as this one knows."""
        return peer in self._roll.addresses

    def may_send(self, peer: NodeId, kind: object) -> bool:
        """Tell whether a message of this type, from this peer, is to be acted upon.

        For a moment two nodes may disagree on what one of them is; so it is merely passed over.
        """
        standing = self._standings.get(peer, Standing.STRANGER)
        return kind in _ALLOWED[standing]

    # Links

    def link_up(self, peer: NodeId, hello: Hello) -> None:
        """A peer can be reached."""
        self._hellos[peer] = hello
        self._links.send(peer, FrameKind.VOTERS, self._roll.tell().to_wire())
        self._witness.greet(peer, hello)
        if self._witness.is_set_back(peer):
            self._links.send(peer, FrameKind.SET_BACK, None)
            self._replica.forget_acknowledged(PeerNode(peer.name))
        self._enter(peer, self._standing(peer, hello))

    def _standing(self, peer: NodeId, hello: Hello) -> Standing:
        if self._witness.is_set_back(peer):
            return Standing.STRANGER
        return self._roll.standing(peer, hello.incarnation)

    def heed(self, peer: NodeId, message: Message) -> None:
        """Take note of what a message shows of its sender's disk."""
        self._witness.heed(peer, self._shown_by(message))

    def _shown_by(self, message: Message) -> Progress:
        term: object = 0
        match message["type"]:
            case "request_vote" | "response_vote" | "append_entries":
                term = message["term"]
            case "next_node_idx" if message["success"]:
                last: int = message["next_node_idx"] - 1  # type: ignore[operator]
                if self._replica.has_led_to(last):  # else it may be of an older term
                    return self._replica.raftCurrentTerm, last
        assert isinstance(term, int)  # `check_message` saw to it
        return term, 0

    def take_reproach(self, peer: NodeId) -> None:
        """Take a peer's word that this node's disk was set back: only its operator can act."""
        if self._throttle.permits(peer.name):
            logger.error(
                "node=%s refuses this node, whose disk knows less than it did: a backup or an "
                "image was brought back, or power was lost; rbcluster reset-node here",
                peer,
            )

    def link_down(self, peer: NodeId) -> None:
        """A peer can be reached no longer."""
        self._hellos.pop(peer, None)
        self._leave(peer)

    def _enter(self, peer: NodeId, standing: Standing) -> None:
        self._standings[peer] = standing
        if standing in {Standing.VOTER, Standing.LEARNER}:
            is_learner = standing is Standing.LEARNER
            self._replica.link_up(PeerNode(peer.name), is_learner=is_learner)
        elif self._witness.is_set_back(peer):
            if self._throttle.permits(f"set back {peer}"):
                logger.error(
                    "node=%s is refused: its disk knows less than it did; rbcluster reset-node "
                    "there",
                    peer,
                )
        elif standing is Standing.STRANGER:
            logger.warning(
                "node=%s is back with another storage: it has no vote until it has caught up", peer
            )

    def _leave(self, peer: NodeId) -> None:
        standing = self._standings.pop(peer, Standing.STRANGER)
        if standing in {Standing.VOTER, Standing.LEARNER}:
            is_learner = standing is Standing.LEARNER
            self._replica.link_down(PeerNode(peer.name), is_learner=is_learner)

    def hold_back(self, peer: NodeId) -> None:
        """So much waits to be sent to a peer that nothing large should be added."""
        if self._is_told_of(peer):
            self._replica.hold_back(PeerNode(peer.name))

    def let_go(self, peer: NodeId) -> None:
        """A link that was full has sent most of it."""
        if self._is_told_of(peer):
            self._replica.let_go(PeerNode(peer.name))

    def _is_told_of(self, peer: NodeId) -> bool:
        return self._standings.get(peer) in {Standing.VOTER, Standing.LEARNER}

    # What changes who is who

    def follow(self, members: Mapping[NodeId, Member]) -> None:
        """Take note of the members, and of what the log says of the voters."""
        replica, roll = self._replica, self._roll
        is_news = roll.hint.index > replica.raftLastApplied
        new = replace(
            roll,
            votes=replica.votes(),
            configuration=replica.configuration(),
            configured_at=replica.configured_as_of(),
            members=members,
            hint=roll.hint if is_news else NOTHING,  # else it could let a removed node in again
        )
        if new != roll:
            self._change(new)

    def take_hint(self, peer: NodeId, payload: object) -> None:
        """Take what a peer's log says of the voters, if the peer is one.

        Who knows of no voter takes it from those that it was told of. It listens to nobody else: a
        learner could make itself a leader.

        :raises FrameError: if it is malformed.
        """
        hint = Hint.from_wire(payload)
        is_voter = self._standings.get(peer) in {Standing.VOTER, Standing.NEWER}
        if not is_voter and (self._roll.configuration or peer not in self._named):
            return
        if hint.index > max(self._replica.raftLastApplied, self._roll.hint.index):
            logger.info("node=%s knows of voters that this node has yet to hear of", peer)
            self._change(replace(self._roll, hint=hint))

    def _change(self, roll: Roll) -> None:
        self._roll = roll
        hint = roll.tell()
        if hint != self._told:
            self._told = hint
            for peer in sorted(self._hellos):
                self._links.send(peer, FrameKind.VOTERS, hint.to_wire())
        for peer, hello in sorted(self._hellos.items()):
            self._re_enter(peer, self._standing(peer, hello))
        self._witness.keep_only(roll.addresses)
        self._point_out_peers()

    def _re_enter(self, peer: NodeId, standing: Standing) -> None:
        """Tell the replica what a linked peer counts as now.

        From learner to voter it knows already: its configuration took the peer along, and what it
        knows of the peer's log stays true.
        """
        before = self._standings.get(peer)
        if before is standing:
            return
        if (before, standing) == (Standing.LEARNER, Standing.VOTER):
            self._standings[peer] = standing
            return
        self._leave(peer)
        self._enter(peer, standing)

    def _point_out_peers(self) -> None:
        self._links.set_peers(self._roll.dialled, frozenset(self._roll.addresses))
