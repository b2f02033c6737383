"""decide: what an office holder must do now about one descriptor, and why; or what it waits for.

A pure comparison of what is wanted (`plan.py`) with what was reserved and accepted (the state), so
it may be asked at any time, any number of times, by anyone: the publisher acts on it, `status`
prints it. A change that takes points away is urgent: clients run into dead points until it is out.
Additions can wait a moment, for others to join them.

Not here: carrying a round out (`round.py`, `agent/`). No clock: `now` is the caller's, and it may
have been set back since an instant in the state was written; nothing then waits for the old time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rbcluster.core import budget
from rbcluster.core.ids import MAX_CLOCK_SPREAD_MS, Term, UnixMs
from rbcluster.core.plan import WantedDescriptor
from rbcluster.core.state import Policy, Publication


class Reason(Enum):
    """Why a descriptor must be published, in words that end "because ..."."""

    NEVER_PUBLISHED = "it was never published"
    OVERTAKEN = "an HSDir holds a higher revision"
    POINTS_WITHDRAWN = "it shows introduction points that are gone"
    UNFINISHED = "its last round was not finished"
    HSDIRS_CHANGED = "other HSDirs are responsible now"
    POINTS_CHANGED = "its content has changed"
    DUE = "it is due for renewal"


# It takes points away, or may: nothing tells what an unfinished round had come to change. These
# may use the part of the upload budget that is kept for withdrawals.
_WITHDRAWALS = frozenset({Reason.POINTS_WITHDRAWN, Reason.UNFINISHED})

# Nobody suffers while these are gathered for `settle_ms`.
_SETTLING = frozenset({Reason.NEVER_PUBLISHED, Reason.POINTS_CHANGED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Reserve a revision and, only once that is committed, begin a round of uploads."""

    reason: Reason
    is_withdrawal: bool  # for `ReservePublication`


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Do nothing yet."""

    until: UnixMs | None  # when to ask again at the latest; None: only a change makes a difference
    why: str


def decide(
    wanted: WantedDescriptor,
    publication: Publication | None,
    policy: Policy,
    *,
    term: Term,
    differs_since: UnixMs | None,
    now: UnixMs,
    is_carried: bool = True,
) -> Publish | Wait:
    """Say what to do about one descriptor.

    :param publication: what the state holds for `wanted.key`.
    :param term: the office holder's; a term has only one, so it stands for the node as well.
    :param differs_since: when the caller first saw `wanted` differ from what was reserved last;
        None if it does not, or is seen only now.
    :param now: the office holder's clock.
    :param is_carried: False if the office holder knows that it carries no round for the last
        reservation: its own was broken off, or it learned too late that it was committed.
    """
    if obstacle := _find_obstacle(wanted):
        return Wait(until=None, why=obstacle)
    reason = _find_reason(wanted, publication, now=now, carried_term=term if is_carried else None)
    if reason is None:
        assert publication is not None  # there would be a reason: NEVER_PUBLISHED
        return _idle(wanted, publication)
    since = now if differs_since is None else differs_since
    settled_at = since + policy.settle_ms
    if reason in _SETTLING and since <= now < settled_at:
        return Wait(until=UnixMs(settled_at), why=f"gathering changes: {reason.value}")
    is_withdrawal = reason in _WITHDRAWALS
    if publication is not None:
        allowed_at = budget.next_allowed_at(
            publication.budget, policy, now, is_withdrawal=is_withdrawal
        )
        if now < allowed_at:
            return Wait(until=allowed_at, why=f"the upload budget is spent: {reason.value}")
    return Publish(reason=reason, is_withdrawal=is_withdrawal)


def _find_obstacle(wanted: WantedDescriptor) -> str | None:
    """Say why there is nothing to publish, or nobody to publish it to."""
    if not wanted.points:
        # An empty descriptor helps nobody; under the last one old points may come back.
        return "no live node holds an introduction point"
    if not wanted.hsdirs:
        return "the consensus names no HSDir"
    return None


def _find_reason(
    wanted: WantedDescriptor,
    publication: Publication | None,
    *,
    now: UnixMs,
    carried_term: Term | None,
) -> Reason | None:
    """Find the first reason to publish that holds.

    :param carried_term: whose round is under way, if it is the last reservation's.
    """
    if publication is None or publication.reservation is None:
        return Reason.NEVER_PUBLISHED
    last, refresh_at = publication.reservation, publication.refresh_at
    still_asked = set(wanted.hsdirs) & set(last.hsdirs)
    rules = (
        # Some point of the last reservation is no longer wanted. Before all others: where several
        # hold, the urgent one speaks, and may use the whole budget.
        (Reason.POINTS_WITHDRAWN, not set(last.auth_keys) <= set(wanted.auth_keys)),
        # The floor was raised after this reservation: its round can't succeed everywhere.
        (Reason.OVERTAKEN, publication.floor > last.revision),
        # No round for it is under way (it was another term's, or was broken off), and it was not
        # seen accepted everywhere that clients still ask.
        (
            Reason.UNFINISHED,
            last.term != carried_term and not still_asked <= publication.accepted,
        ),
        # Only newcomers matter: an HSDir that left holds the descriptor, and nobody asks it.
        (Reason.HSDIRS_CHANGED, not set(wanted.hsdirs) <= set(last.hsdirs)),
        # Points were added, or keys, link specifiers, order or traits have changed.
        (Reason.POINTS_CHANGED, wanted.digest_for(last.hsdirs) != last.digest),
        # Nothing has changed, but a descriptor is renewed before it ages, as tor does.
        (Reason.DUE, refresh_at is not None and now >= refresh_at),
        # When that was to be is lost with the clock that said so.
        (Reason.DUE, last.reserved_at > now + MAX_CLOCK_SPREAD_MS),
    )
    return next((reason for reason, holds in rules if holds), None)


def _idle(wanted: WantedDescriptor, publication: Publication) -> Wait:
    """Say what comes next when nothing is to be done."""
    num_held = len(publication.accepted.intersection(wanted.hsdirs))
    num_wanted = len(wanted.hsdirs)
    why = (
        "it is up to date"
        if num_held == num_wanted
        else f"its round is under way: {num_held} of {num_wanted} HSDirs hold it"
    )
    return Wait(until=publication.refresh_at, why=why)
