"""The upload budget of one publication: a token bucket, in integers.

It starts full (`Policy.upload_burst` tokens), gains one token per `upload_every_ms`, and a round of
uploads takes one. So neither a flapping node nor an attack on introduction points turns the cluster
into a noise maker. Of a burst of four or more, the last two tokens are kept for withdrawals: a dead
node leaves the descriptor even while others flap.

Each blinded key, that is each service and time period, has a bucket of its own: a service that
flaps spends nothing of another's, and the first publication of a period finds its bucket full. What
a cluster uploads at most grows with the number of its services.

Not here: when something is worth an upload (`core/decide.py`). Instants are the proposer's; a
bucket that comes from the future, by more than clocks may differ, was kept by a clock that has been
set back since, and is full again: else nothing could be published until that future.
"""

from __future__ import annotations

from rbcluster.core.ids import MAX_CLOCK_SPREAD_MS, UnixMs
from rbcluster.core.state import Policy, UploadBudget

_TOKEN = 1_000  # millitokens
_KEPT_TOKENS = 2  # for withdrawals ...
_KEEPING_BURST = 4  # ... of a burst of at least this many


def initial(policy: Policy, at: UnixMs) -> UploadBudget:
    """Make a full bucket."""
    return UploadBudget(millitokens=policy.upload_burst * _TOKEN, updated_at=at)


def spend(
    budget: UploadBudget, policy: Policy, at: UnixMs, *, is_withdrawal: bool
) -> UploadBudget | None:
    """Take a token.

    An `at` before the bucket's own instant gains nothing and becomes that instant, so that one
    leader's fast clock does not stop refills for the next.

    :returns: the bucket afterwards; None if it does not hold enough.
    """
    held = _held(budget, policy, at)
    if held < _needed(policy, is_withdrawal=is_withdrawal):
        return None
    return UploadBudget(millitokens=held - _TOKEN, updated_at=at)


def next_allowed_at(
    budget: UploadBudget, policy: Policy, at: UnixMs, *, is_withdrawal: bool
) -> UnixMs:
    """Find the first instant, not before `at`, at which `spend` gives a token."""
    needed = _needed(policy, is_withdrawal=is_withdrawal)
    if _held(budget, policy, at) >= needed:
        return at
    missing = needed - budget.millitokens
    wait_ms = -(-missing * policy.upload_every_ms // _TOKEN)  # rounded up
    return UnixMs(budget.updated_at + wait_ms)


def _held(budget: UploadBudget, policy: Policy, at: UnixMs) -> int:
    """Millitokens in the bucket at an instant."""
    full = policy.upload_burst * _TOKEN
    elapsed_ms = at - budget.updated_at
    if elapsed_ms < -MAX_CLOCK_SPREAD_MS:
        return full
    gained = max(0, elapsed_ms) * _TOKEN // policy.upload_every_ms
    return min(full, budget.millitokens + gained)


def _needed(policy: Policy, *, is_withdrawal: bool) -> int:
    """Millitokens that must be there before one token is taken."""
    keeps = policy.upload_burst >= _KEEPING_BURST and not is_withdrawal
    return (1 + _KEPT_TOKENS * keeps) * _TOKEN
