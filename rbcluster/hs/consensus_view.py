"""What onion-service code needs of a consensus: times, shared random values, HSDirs.

The adapter in `tor/` makes it; everything that depends on network state takes it as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rbcluster.hs.keys import RelayEd25519Id, SharedRandomValue
from rbcluster.hs.params import (
    DEFAULT_N_REPLICAS,
    DEFAULT_SPREAD_STORE,
    FINGERPRINT_BYTES,
)
from rbcluster.hs.time_period import HsTimes, TimePeriod


@dataclass(frozen=True, slots=True, order=True)
class Fingerprint:
    """A relay's legacy identity: SHA-1 of its RSA identity key (20 bytes).

    :raises ValueError: if it is not 20 bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != FINGERPRINT_BYTES:
            msg = f"a relay fingerprint takes {FINGERPRINT_BYTES} bytes, not {len(self.raw)}"
            raise ValueError(msg)

    @classmethod
    def from_hex(cls, text: str) -> Fingerprint:
        """Read 40 hexadecimal digits, with or without a leading ``$``."""
        return cls(bytes.fromhex(text.removeprefix("$")))

    def __str__(self) -> str:
        return self.raw.hex().upper()


@dataclass(frozen=True, slots=True, order=True)
class HsDir:
    """A relay that stores descriptors: flag HSDir, protocol HSDir=2, a known Ed25519 identity."""

    fingerprint: Fingerprint
    ed25519_id: RelayEd25519Id


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusView:
    """One consensus, reduced to what onion services depend on."""

    valid_after: datetime  # aware UTC, all three
    fresh_until: datetime
    valid_until: datetime
    times: HsTimes
    srv_current: SharedRandomValue | None  # None: the authorities agreed on none ("disaster")
    srv_previous: SharedRandomValue | None
    hsdirs: tuple[HsDir, ...]  # sorted by fingerprint, no duplicates
    num_replicas: int = DEFAULT_N_REPLICAS  # consensus parameter hsdir_n_replicas
    spread_store: int = DEFAULT_SPREAD_STORE  # consensus parameter hsdir_spread_store

    @property
    def candidate_periods(self) -> tuple[TimePeriod, ...]:
        """The periods that a service's current descriptor may be of, likeliest first."""
        period = TimePeriod.containing(self.valid_after, self.times)
        return period, period.previous(), period.next()
