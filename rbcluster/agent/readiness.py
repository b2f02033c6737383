"""Could this node publish, if it led? Every reason why not, as a sentence for its operator.

Pure: each input is a value. The answer travels in heartbeats; a leader that is not ready hands
over to a node that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rbcluster.agent.clock import to_instant
from rbcluster.core.ids import MAX_CLOCK_SPREAD_MS, UnixMs
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.tor.settings import TorStatus

MAX_CLOCK_OFFSET_MS = MAX_CLOCK_SPREAD_MS // 2  # to either side of the voters' median


@dataclass(frozen=True, slots=True, kw_only=True)
class Senses:
    """Everything readiness depends on."""

    tor: TorStatus
    consensus: ConsensusView | None
    services_without_key: tuple[OnionAddress, ...]
    clock_offset_ms: int  # ahead of the voters' median
    wall_ms: UnixMs
    disk_fault: str | None  # what `disk_probe.py` found


def publishing_faults(senses: Senses) -> tuple[str, ...]:
    """List why a node could not publish; empty if it could."""
    return (
        *_tor_faults(senses.tor),
        *(_consensus_faults(senses.consensus, senses.wall_ms) if senses.tor.connected else ()),
        *_key_faults(senses.services_without_key),
        *clock_faults(senses),
        *([senses.disk_fault] if senses.disk_fault else []),
    )


def _tor_faults(tor: TorStatus) -> Iterator[str]:
    if not (tor.connected or tor.faults):
        yield "tor's control port does not answer"
    yield from tor.faults  # these say why it doesn't


def _consensus_faults(view: ConsensusView | None, wall_ms: UnixMs) -> Iterator[str]:
    if view is None:
        yield "tor has no consensus yet"
    # One more lifetime of grace: when the authorities fail, every node works on from the last one,
    # and whether one leads or another makes no difference.
    elif to_instant(wall_ms) > view.valid_until + (view.valid_until - view.valid_after):
        yield f"tor's consensus expired at {view.valid_until:%Y-%m-%d %H:%M} UTC"


def _key_faults(services: Iterable[OnionAddress]) -> Iterator[str]:
    for address in services:
        yield f"no master key for {address.shortened()} on this node"


def clock_faults(senses: Senses) -> Iterator[str]:
    """List why this node's clock can't be trusted: then it publishes nothing, leader or not."""
    if abs(senses.clock_offset_ms) > MAX_CLOCK_OFFSET_MS:
        yield (
            f"this clock is {senses.clock_offset_ms / 1000:+.0f} s off the median of the voters: "
            "set it by NTP"
        )
    if senses.consensus and to_instant(senses.wall_ms) < senses.consensus.valid_after:
        yield "this clock is behind tor's consensus: set it by NTP"
