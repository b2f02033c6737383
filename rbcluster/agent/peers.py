"""What this node has heard from the others: who is silent, who could publish, whose clock is off.

Every node keeps this table, not only the leader, so that a new leader need not wait to know.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rbcluster.agent.heartbeat import FRESH_HEARTBEAT_S, Heartbeat
from rbcluster.core.ids import NodeId, UnixMs
from rbcluster.instants import Monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """The last word of one node."""

    heartbeat: Heartbeat
    heard_at: Monotonic
    clock_offset_ms: int  # the sender's wall clock less ours, the way here included

    def is_fresh(self, now: Monotonic) -> bool:
        """Tell whether it was said just now: what a node said long ago may not hold."""
        return now - self.heard_at < FRESH_HEARTBEAT_S


class PeerTable:
    """The last heartbeat of every node.

    :param started_at: every node counts as heard then, so that one that has
        only just started calls nobody silent.
    """

    def __init__(self, started_at: Monotonic) -> None:
        self._awake_since = started_at
        self._records: dict[NodeId, PeerRecord] = {}

    def hear(self, node: NodeId, heartbeat: Heartbeat, *, now: Monotonic, wall_ms: UnixMs) -> None:
        """Take in a heartbeat that arrived at `now`, when our wall clock said `wall_ms`."""
        self._records[node] = PeerRecord(
            heartbeat=heartbeat, heard_at=now, clock_offset_ms=heartbeat.sent_at_ms - wall_ms
        )

    def record(self, node: NodeId) -> PeerRecord | None:
        """Return the last word of a node, None if it was never heard."""
        return self._records.get(node)

    @property
    def records(self) -> Mapping[NodeId, PeerRecord]:
        """The last word of every node that was heard."""
        return MappingProxyType(self._records)

    def authorities(self) -> frozenset[NodeId]:
        """Name the nodes that last said they can certify others."""
        return frozenset(
            node for node, record in self._records.items() if record.heartbeat.holds_authority
        )

    def excuse_silence(self, now: Monotonic) -> None:
        """Count every node as heard now: it was this one that did not listen."""
        self._awake_since = now

    def silent_s(self, node: NodeId, now: Monotonic) -> float:
        """Tell for how many seconds a node has been silent while this one listened."""
        record = self._records.get(node)
        heard_at = record.heard_at if record else self._awake_since
        return now - max(heard_at, self._awake_since)

    def own_clock_offset_ms(
        self, voters: Iterable[NodeId], *, myself: NodeId, now: Monotonic
    ) -> int:
        """Tell how far our wall clock is ahead of the median of the voters' (milliseconds).

        A voter that is silent is left out: its clock, or ours, may have been set since. Our own
        counts as one of them.
        """
        records = (self._records.get(node) for node in voters if node != myself)
        offsets = [record.clock_offset_ms for record in records if record and record.is_fresh(now)]
        return -round(statistics.median([0, *offsets]))
