"""What becomes of a proposed command.

The distinction that counts is between "certainly not in the log" and "can't be known": only the
first may be proposed again without thought, and only where nobody said no does that make sense.

Overview::

    Outcome          COMMITTED | REFUSED | NOT_TAKEN | UNKNOWN
    ProposalResult   outcome, verdict of the state machine, one sentence
    conclude         from PySyncObj's code to a result
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Generic, TypeVar

from pysyncobj.config import FAIL_REASON

V = TypeVar("V")


class Outcome(Enum):
    """How a proposal ended."""

    COMMITTED = "committed"  # in the log for good, and applied on this node
    REFUSED = "refused"  # certainly not in the log: it was looked at, and may not enter
    NOT_TAKEN = "not-taken"  # certainly not in the log: nobody was there to take it; try again
    UNKNOWN = "unknown"  # may be in the log now, or still get there


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalResult(Generic[V]):
    """The outcome of `RaftEngine.propose`."""

    outcome: Outcome
    verdict: V | None  # what the state machine said; only if committed, None if it raised
    detail: str  # why, for an operator; empty if committed


# Code 5 came for a command that was committed, and 4 means "no time to commit". DISCARDED is
# certain: another entry was applied at the one place in the log that the command ever had.
_FAILURES: Mapping[int, tuple[Outcome, str]] = MappingProxyType(
    {
        FAIL_REASON.QUEUE_FULL: (Outcome.NOT_TAKEN, "too many proposals are waiting"),
        FAIL_REASON.MISSING_LEADER: (Outcome.NOT_TAKEN, "no leader is known or reachable"),
        FAIL_REASON.DISCARDED: (
            Outcome.NOT_TAKEN,
            "a new leader's entry took its place in the log",
        ),
        FAIL_REASON.REQUEST_DENIED: (Outcome.REFUSED, "the leader refused it"),
        FAIL_REASON.NOT_LEADER: (Outcome.UNKNOWN, "the leader had stepped down"),
        FAIL_REASON.LEADER_CHANGED: (Outcome.UNKNOWN, "the leader changed meanwhile"),
        FAIL_REASON.UNKNOWN_OUTCOME: (Outcome.UNKNOWN, "a snapshot overtook it"),
    }
)


def refused(detail: str) -> ProposalResult[V]:
    """Make the result of a command that may not enter the log."""
    return ProposalResult(outcome=Outcome.REFUSED, verdict=None, detail=detail)


def not_taken(detail: str) -> ProposalResult[V]:
    """Make the result of a command that nobody could take."""
    return ProposalResult(outcome=Outcome.NOT_TAKEN, verdict=None, detail=detail)


def unknown(detail: str) -> ProposalResult[V]:
    """Make the result of a command that may or may not be in the log."""
    return ProposalResult(outcome=Outcome.UNKNOWN, verdict=None, detail=detail)


def conclude(answer: V | str | None, code: int) -> ProposalResult[V]:
    """Translate what PySyncObj's callback was given.

    :param answer: the verdict if `code` is SUCCESS; the leader's reason or None otherwise.
    :param code: one of ``FAIL_REASON``; a code of another version counts as unknown.
    """
    if code == FAIL_REASON.SUCCESS:
        verdict: V | None = answer  # type: ignore[assignment]
        return ProposalResult(outcome=Outcome.COMMITTED, verdict=verdict, detail="")
    outcome, detail = _FAILURES.get(code, (Outcome.UNKNOWN, f"PySyncObj gave code {code}"))
    reason = answer if isinstance(answer, str) else detail
    return ProposalResult(outcome=outcome, verdict=None, detail=reason)
