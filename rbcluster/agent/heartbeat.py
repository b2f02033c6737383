"""What a node tells every other once a second: that it lives, and whether it could publish.

Heartbeats travel beside Raft, not through its log: only what follows from them (a node withdrawn,
an office handed over) is replicated.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rbcluster.core.ids import UnixMs
from rbcluster.errors import ParseError

HEARTBEAT_EVERY_S = 1.0
FRESH_HEARTBEAT_S = 3 * HEARTBEAT_EVERY_S  # an older one says nothing about now
MAX_SENTENCES = 32  # of each kind in one heartbeat


class TorSummary(BaseModel):
    """The state of a node's tor, as its operator wants to see it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    connected: bool = False
    version: str | None = Field(default=None, max_length=200)
    bootstrapped: int | None = Field(default=None, ge=0, le=100)  # percent
    warnings: tuple[str, ...] = Field(default=(), max_length=MAX_SENTENCES)  # what ails one service


class Heartbeat(BaseModel):
    """One node's word about itself; unknown fields of a newer version are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sent_at_ms: UnixMs = Field(ge=0)  # the sender's wall clock
    faults: tuple[str, ...] = Field(default=(), max_length=MAX_SENTENCES)  # why it can't publish
    has_keys: bool = True  # it holds the master key of every service
    holds_authority: bool = False  # the key of the cluster's authority: it can certify nodes
    certificate_ends_at_ms: UnixMs | None = Field(default=None, ge=0)
    tor: TorSummary = TorSummary()
    visitors: int | None = Field(default=None, ge=0)  # connected through its tor; None: not known
    version: str = Field(default="", max_length=100)  # of rbcluster
    period: int | None = Field(default=None, ge=0)  # time period its tor is in; None: not known
    schema_version: int = Field(default=1, ge=1)  # newest one that the sender knows

    @property
    def can_publish(self) -> bool:
        """Whether the sender could do the leader's work now."""
        return not self.faults

    def to_bytes(self) -> bytes:
        """Encode for the link."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Heartbeat:
        """Decode what a peer sent.

        :raises ParseError: if it is no heartbeat.
        """
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise ParseError(f"no heartbeat: {error.error_count()} faulty fields") from error
