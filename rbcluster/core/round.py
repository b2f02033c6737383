"""One round of uploads, as a value: one revision on its way to every HSDir of a slot.

Each HSDir goes through phases of its own::

             SENT                 NO_ANSWER              SENT
    PENDING <----------> IN_FLIGHT --------> UNKNOWN <----------> RESENT
             NOT_SENT     |     |               ^  NOT_SENT      |  |
                 UPLOADED |     | REJECTED      +----------------+  | UPLOADED
                          v     v                   NO_ANSWER       | or REJECTED
                    ACCEPTED  OVERTAKEN                             v
                                                                ACCEPTED

An HSDir refuses any revision that is not above the one it holds. At first that means that it holds
more than this round brings (OVERTAKEN). After an upload without an answer, it is the proof that the
upload had arrived.

Not here: how an upload is made and how long to wait for its answer (`tor/`), who may still send
(`agent/`). Instants are given by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.instants import LONG_AGO, Monotonic

BACKOFF_MIN_S = 2.0  # before an HSDir is tried again the first time ...
BACKOFF_MAX_S = 60.0  # ... doubled each time, up to this


class UploadPhase(Enum):
    """How far one HSDir is."""

    PENDING = "pending"  # nothing was sent yet
    IN_FLIGHT = "in flight"  # handed over for the first time, no answer yet
    UNKNOWN = "unknown"  # sent, and no answer came: it may hold the revision or not
    RESENT = "resent"  # sent again after an unknown end
    ACCEPTED = "accepted"  # it holds the revision
    OVERTAKEN = "overtaken"  # it holds a higher one that is not this round's


class UploadInput(Enum):
    """What can happen to one HSDir's upload."""

    SENT = "sent"  # it was handed to tor
    NOT_SENT = "not sent"  # ... which refused it, or doesn't know that relay
    UPLOADED = "uploaded"  # the HSDir took the descriptor
    REJECTED = "rejected"  # the HSDir holds this revision already, or a higher one
    NO_ANSWER = "no answer"  # the time for an answer ran out, or the request died


_Phase, _Input = UploadPhase, UploadInput
_TRANSITIONS: Mapping[tuple[UploadPhase, UploadInput], UploadPhase] = MappingProxyType(
    {
        (_Phase.PENDING, _Input.SENT): _Phase.IN_FLIGHT,
        (_Phase.IN_FLIGHT, _Input.NOT_SENT): _Phase.PENDING,
        (_Phase.IN_FLIGHT, _Input.UPLOADED): _Phase.ACCEPTED,
        (_Phase.IN_FLIGHT, _Input.REJECTED): _Phase.OVERTAKEN,
        (_Phase.IN_FLIGHT, _Input.NO_ANSWER): _Phase.UNKNOWN,
        (_Phase.UNKNOWN, _Input.SENT): _Phase.RESENT,
        (_Phase.RESENT, _Input.NOT_SENT): _Phase.UNKNOWN,
        (_Phase.RESENT, _Input.UPLOADED): _Phase.ACCEPTED,
        (_Phase.RESENT, _Input.REJECTED): _Phase.ACCEPTED,
        (_Phase.RESENT, _Input.NO_ANSWER): _Phase.UNKNOWN,
    }
)
_WAITING = frozenset({_Phase.PENDING, _Phase.UNKNOWN})  # for the next attempt
_FINAL = frozenset({_Phase.ACCEPTED, _Phase.OVERTAKEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class HsdirUpload:
    """One HSDir's part in a round."""

    phase: UploadPhase = UploadPhase.PENDING
    due_at: Monotonic = LONG_AGO  # when to try (again), while that is waited for
    backoff_s: float = BACKOFF_MIN_S  # how long to wait after the next failure
    detail: str = ""  # how the last attempt that ended failed, for the operator


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRound:
    """The uploads of one revision."""

    uploads: Mapping[Fingerprint, HsdirUpload] = field(default_factory=dict)

    @classmethod
    def over(cls, hsdirs: Iterable[Fingerprint]) -> UploadRound:
        """Begin a round: every HSDir is due at once, in this order."""
        return cls(uploads=MappingProxyType({hsdir: HsdirUpload() for hsdir in hsdirs}))

    def step(
        self, hsdir: Fingerprint, happened: UploadInput, now: Monotonic, detail: str = ""
    ) -> UploadRound:
        """Take in what happened to one upload.

        :param now: a further attempt is due a back-off after it.
        :param detail: tor's or the HSDir's own words about a failure.
        :returns: the round afterwards.
        :raises ValueError: if that can't happen in the phase the HSDir is in.
        :raises KeyError: if the HSDir has no part in this round.
        """
        upload = self.uploads[hsdir]
        phase = _TRANSITIONS.get((upload.phase, happened))
        if phase is None:
            raise ValueError(
                f"HSDir {hsdir}: {happened.value!r} can't happen while {upload.phase.value!r}"
            )
        after = replace(upload, phase=phase)
        if phase is UploadPhase.ACCEPTED:
            after = replace(after, detail="")
        elif happened is not UploadInput.SENT:
            after = replace(after, detail=detail or happened.value)
        if phase in _WAITING:
            next_backoff_s = min(2 * upload.backoff_s, BACKOFF_MAX_S)
            after = replace(
                after, due_at=Monotonic(now + upload.backoff_s), backoff_s=next_backoff_s
            )
        return UploadRound(uploads=MappingProxyType({**self.uploads, hsdir: after}))

    def next_sends(self, now: Monotonic) -> tuple[Fingerprint, ...]:
        """Find the HSDirs to send to now, in ring order."""
        return tuple(
            hsdir
            for hsdir, upload in self.uploads.items()
            if upload.phase in _WAITING and upload.due_at <= now
        )

    def hurried(self, now: Monotonic) -> UploadRound:
        """Make every attempt that is waited for due now: tor is back, on which all had waited."""
        return UploadRound(
            uploads=MappingProxyType(
                {
                    hsdir: replace(upload, due_at=now, backoff_s=BACKOFF_MIN_S)
                    if upload.phase in _WAITING
                    else upload
                    for hsdir, upload in self.uploads.items()
                }
            )
        )

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will happen: each HSDir accepted, or holds more."""
        return all(upload.phase in _FINAL for upload in self.uploads.values())

    @property
    def accepted(self) -> frozenset[Fingerprint]:
        """The HSDirs that hold this revision."""
        return self._in(UploadPhase.ACCEPTED)

    @property
    def overtaken(self) -> frozenset[Fingerprint]:
        """The HSDirs that hold a higher revision: the floor must be raised above it."""
        return self._in(UploadPhase.OVERTAKEN)

    def _in(self, phase: UploadPhase) -> frozenset[Fingerprint]:
        return frozenset(h for h, upload in self.uploads.items() if upload.phase is phase)

    @property
    def failures(self) -> Mapping[Fingerprint, str]:
        """The HSDirs that don't hold it yet though tried, and why (for `RecordRound.refused`)."""
        return {hsdir: upload.detail for hsdir, upload in self.uploads.items() if upload.detail}
