"""Asking before standing for election, whether a majority would vote for this node.

PySyncObj raises the term as soon as a follower's patience ends, and that alone unseats the leader,
though it may live: it is only the link to it that is cut, or this process that got no processor
time. So a follower asks first, and raises no term before a majority has agreed. Who hears a leader
does not agree, nor who has the longer log.

Not here: sending and receiving (`pysyncobj_patch.py`). Raft thesis 9.6 (PreVote) and 4.2.3.
"""

from __future__ import annotations

from rbcluster.raft.codec import PeerNode


class Canvass:
    """One round of asking, and who has agreed."""

    def __init__(self, term: int, num_voters: int) -> None:
        """Begin a round.

        :param term: the one to stand in; answers to another are of an earlier round.
        :param num_voters: of the whole cluster, this node included.
        """
        self.term = term
        self._num_voters = num_voters
        self._agreed: set[PeerNode] = set()
        self._known_term = term - 1

    def agree(self, node: PeerNode, term: int, known_term: int) -> None:
        """Count a voter's agreement, once.

        :param term: the one that was asked about.
        :param known_term: the voter's own: a vote can be had only above it.
        """
        if term == self.term:
            self._agreed.add(node)
            self._known_term = max(self._known_term, known_term)

    @property
    def won_above(self) -> int | None:
        """The term above which a majority would vote for this node; None if there is none yet."""
        is_majority = 2 * (len(self._agreed) + 1) > self._num_voters
        return self._known_term if is_majority else None
