"""`plan`, remembered: asked at every bell, computed only when the state or the network changed.

Both are immutable values, so being the same object means being equal.
"""

from __future__ import annotations

from rbcluster.core.plan import SlotRing, WantedDescriptor, plan
from rbcluster.core.state import ClusterState


class Planner:
    """What should be published, for the last state and rings asked about."""

    def __init__(self) -> None:
        self._rings: tuple[SlotRing, ...] = ()
        self._state: ClusterState | None = None
        self._wanted: tuple[WantedDescriptor, ...] = ()

    def plan(
        self, state: ClusterState, slot_rings: tuple[SlotRing, ...]
    ) -> tuple[WantedDescriptor, ...]:
        """Say what should be published now; nothing is known without a consensus, so no rings."""
        if state is not self._state or slot_rings is not self._rings:
            self._state, self._rings = state, slot_rings
            self._wanted = plan(state, slot_rings)
        return self._wanted
