"""What a node knows of its own machine, besides tor and Raft: its disk, certificate, authority.

Each is asked anew whenever it is needed. Not here: how it is found out (`disk_probe.py`,
`enrolment/renewal.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rbcluster.core.ids import UnixMs


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """One machine; as it stands here, one with a good disk and nothing else to tell."""

    disk_fault: Callable[[], str | None] = lambda: None
    certificate_ends_at: Callable[[], UnixMs | None] = lambda: None  # None: not looked at yet
    holds_authority: Callable[[], bool] = lambda: False  # the key that certifies nodes
