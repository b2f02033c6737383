"""Names and numbers of the cluster, a type for each, so that no two can be swapped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

Term = NewType("Term", int)
"""A Raft term (>= 0): a span with at most one leader. Raft paper 5.1."""

LogIndex = NewType("LogIndex", int)
"""A position in the Raft log (>= 1)."""

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


ID_BYTES = 16
"""Of an id drawn at random: no two clusters or lives of a node ever draw the same."""


def _check_id(raw: bytes) -> None:
    if len(raw) != ID_BYTES:
        raise ValueError(f"an id is {ID_BYTES} bytes, not {len(raw)}")


@dataclass(frozen=True, slots=True, order=True)
class ClusterId:
    """Which cluster (16 bytes): drawn when it is founded, or founded anew from a backup.

    :raises ValueError: if it has another length.
    """

    raw: bytes

    def __post_init__(self) -> None:
        _check_id(self.raw)

    def __str__(self) -> str:
        return self.raw.hex()


UNDRAWN_CLUSTER_ID = ClusterId(bytes(ID_BYTES))
"""Of a cluster for which none was drawn: two of them are not told apart."""


@dataclass(frozen=True, slots=True, order=True)
class Incarnation:
    """One life of a node's storage (16 bytes): from its founding until it is lost or set aside.

    A node that lost what it had promised (its vote, its entries) is another voter than before,
    under the same name: this tells the two apart.

    :raises ValueError: if it has another length.
    """

    raw: bytes

    def __post_init__(self) -> None:
        _check_id(self.raw)

    def __str__(self) -> str:
        return self.raw.hex()
