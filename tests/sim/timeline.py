"""What happened, in order: the one output of a run. Two runs of one seed have the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rbcluster.core.ids import NodeId


class Violation(Exception):  # noqa: N818 - what a run may end with, not a mistake of the simulator
    """An invariant does not hold."""


@dataclass(slots=True)
class Timeline:
    """The events of one run, and the first violation."""

    clock: Callable[[], float]  # true seconds
    lines: list[str] = field(default_factory=list)
    violation: str | None = None
    on_violation: Callable[[], None] = lambda: None

    def note(self, who: NodeId | str, what: str) -> None:
        """Write down an event."""
        self.lines.append(f"{self.clock():8.3f}  {who!s:<8} {what}")

    def violate(self, who: NodeId | str, what: str) -> None:
        """Write down that an invariant does not hold; the run ends."""
        self.note(who, f"VIOLATION: {what}")
        if self.violation is None:
            self.violation = what
            self.on_violation()
