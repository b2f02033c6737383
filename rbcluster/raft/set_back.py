"""Which peers' disks were set back, told by what they showed before.

A term never falls for one storage, and what it acknowledged to a term's leader it holds for as long
as that term lasts. Whoever greets with less has forgotten a vote, or entries that may count as
committed: a backup or an image of its machine was brought back, or its power was lost while it did
not wait for the disk. Its vote could elect a second leader, or one that lacks what was committed.

A last index alone says nothing: a new leader cuts the log of who has more than it.

What is known here is forgotten with the process, so this is no proof that a peer is sound.

Not here: what is done about it (`linked_peers.py`).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.raft.frames import Hello

Progress = tuple[int, int]
"""A term, and an index in the log that was acknowledged to its leader; 0: none was."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What one storage has shown."""

    incarnation: Incarnation
    most: Progress
    is_set_back: bool = False  # for good: what it forgot it does not learn again


class Witness:
    """What one node has seen of its peers' storages."""

    def __init__(self) -> None:
        self._shown: dict[NodeId, _Shown] = {}

    def greet(self, peer: NodeId, hello: Hello) -> None:
        """Take in what a peer says of itself on a new link."""
        shown = self._shown.get(peer)
        if shown is None or shown.incarnation != hello.incarnation:
            self._shown[peer] = _Shown(hello.incarnation, (hello.term, 0))
        elif (hello.term, hello.last_index) < shown.most:
            self._shown[peer] = replace(shown, is_set_back=True)
        else:
            self.heed(peer, (hello.term, 0))

    def heed(self, peer: NodeId, progress: Progress) -> None:
        """Take in what a linked peer has shown since."""
        shown = self._shown.get(peer)
        if shown is not None and progress > shown.most:
            self._shown[peer] = replace(shown, most=progress)

    def is_set_back(self, peer: NodeId) -> bool:
        """Tell whether a peer greeted with less than it had shown."""
        shown = self._shown.get(peer)
        return shown is not None and shown.is_set_back

    def keep_only(self, peers: Container[NodeId]) -> None:
        """Forget who is no member any more."""
        self._shown = {node: shown for node, shown in self._shown.items() if node in peers}
