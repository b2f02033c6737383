"""Which introduction points go into a descriptor: at most one per relay, fair to the nodes.

A client looks up the point it chose by its relay, so of two points on one relay the first would
take all the load, or hide the other. Which node keeps a shared relay is therefore ours to decide.

Shares are dealt one point at a time, always to the node that is worst off for its weight. Where its
relays are all taken, others move aside along a shortest augmenting path, as in bipartite matching;
no node loses a point by it. What sets of shares are possible forms a polymatroid, and on one of
those this greedy order gives the fairest result there is: the smallest share is as large as it can
be, then the next smallest, and the total is as large as relays and limit allow.

Not here: the order in which points are shown, and whose points count (`core/plan.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import heapify, heappop, heappush

from rbcluster.core.ids import NodeId
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.intro_point import IntroPoint


def select_points(
    candidates: Mapping[NodeId, tuple[IntroPoint, ...]],
    weights: Mapping[NodeId, int],
    limit: int,
) -> Mapping[NodeId, tuple[IntroPoint, ...]]:
    """Choose the introduction points to show.

    The result does not depend on the order of nodes or of points. Nodes of equal weight differ by
    at most one point where their relays allow it; heavier ones get more, after each got one.

    :param candidates: what each node offers.
    :param weights: share of each candidate node against the others (>= 1).
    :param limit: how many points there may be in all.
    :returns: each candidate node's points, perhaps none, sorted by auth key.
    """
    dealer = _Dealer({node: _by_relay(points) for node, points in sorted(candidates.items())})
    # (points held for its weight, heavier first, then by name): the first is the worst off
    waiting = [(Fraction(0), -weights[node], node) for node in dealer.offers]
    heapify(waiting)
    left = limit
    while waiting and left > 0:
        held, _, node = heappop(waiting)
        if dealer.deal(node):  # if not, never again: what the others hold only grows
            left -= 1
            weight = weights[node]
            heappush(waiting, (held + Fraction(1, weight), -weight, node))
    return {node: dealer.held_by(node) for node in dealer.offers}


def _by_relay(points: tuple[IntroPoint, ...]) -> dict[Fingerprint, IntroPoint]:
    """Keep one point for each relay, in order of auth key.

    Neither other nodes nor other points of this one change that order.
    """
    offered: dict[Fingerprint, IntroPoint] = {}
    for point in sorted(points, key=lambda point: point.auth_key):
        offered.setdefault(point.relay, point)
    return offered


@dataclass(slots=True)
class _Dealer:
    """A matching of relays to nodes under way: each relay has at most one holder."""

    offers: dict[NodeId, dict[Fingerprint, IntroPoint]]
    holder: dict[Fingerprint, NodeId] = field(default_factory=dict)

    def deal(self, node: NodeId) -> bool:
        """Give a node one more relay, moving others aside; False if that is impossible."""
        came_from: dict[Fingerprint, Fingerprint | None] = {}  # relay -> the one given up for it
        queue: deque[tuple[NodeId, Fingerprint | None]] = deque([(node, None)])
        while queue:
            seeker, given_up = queue.popleft()
            for relay in self.offers[seeker]:
                if relay in came_from:
                    continue
                came_from[relay] = given_up
                if relay not in self.holder:
                    self._shift(relay, node, came_from)
                    return True
                queue.append((self.holder[relay], relay))
        return False

    def _shift(
        self,
        free: Fingerprint,
        node: NodeId,
        came_from: Mapping[Fingerprint, Fingerprint | None],
    ) -> None:
        """Let each holder on the path take the next relay; the first one goes to `node`."""
        relay = free
        while (given_up := came_from[relay]) is not None:
            self.holder[relay] = self.holder[given_up]
            relay = given_up
        self.holder[relay] = node

    def held_by(self, node: NodeId) -> tuple[IntroPoint, ...]:
        """Return a node's points, sorted by auth key."""
        offered = self.offers[node].items()
        return tuple(point for relay, point in offered if self.holder.get(relay) == node)
