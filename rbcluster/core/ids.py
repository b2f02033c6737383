"""Names and numbers of the cluster, a type for each, so that no two can be swapped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

Term = NewType("Term", int)
"""A Raft term (>= 0): a span with at most one leader. Raft paper 5.1."""

LogIndex = NewType("LogIndex", int)
"""A position in the Raft log (>= 1)."""

RevisionCounter = NewType("RevisionCounter", int)
"""A descriptor's revision (0 .. 2^64-1). Spec: rend-spec-v3 2.4."""

UnixMs = NewType("UnixMs", int)
"""An instant, milliseconds since the Unix epoch: the one form of time in replicated state."""

MAX_CLOCK_SPREAD_MS = 60_000
"""Between two nodes that may publish (ours): a greater step back means that a clock was set."""

_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """A node's name: 1 to 63 of ``a-z 0-9 -``, no hyphen at either end (a DNS label).

    Not its address: addresses may change.

    :raises ValueError: if the name has another form.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NODE_NAME.fullmatch(self.name):
            msg = f"{self.name!r} is no node name: use 1 to 63 of a-z, 0-9 and inner hyphens"
            raise ValueError(msg)

    def __str__(self) -> str:
        return self.name
