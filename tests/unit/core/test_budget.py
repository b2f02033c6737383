from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core import budget
from rbcluster.core.ids import UnixMs
from rbcluster.core.state import Policy, UploadBudget

POLICY = Policy(upload_burst=5, upload_every_ms=10_000)
T0 = UnixMs(1_000_000)


def later(milliseconds: int) -> UnixMs:
    return UnixMs(T0 + milliseconds)


def spend_all(policy: Policy, at: UnixMs, *, is_withdrawal: bool) -> tuple[int, UploadBudget]:
    """Spend until nothing is given: how many tokens came, and what is left."""
    held, count = budget.initial(policy, at), 0
    while (after := budget.spend(held, policy, at, is_withdrawal=is_withdrawal)) is not None:
        held, count = after, count + 1
    return count, held


@pytest.mark.parametrize(
    ("burst", "additions", "withdrawals"), [(1, 1, 1), (3, 3, 3), (4, 2, 4), (5, 3, 5)]
)
def test_additions_leave_two_tokens_of_a_burst_of_four_or_more(
    burst: int, additions: int, withdrawals: int
) -> None:
    policy = Policy(upload_burst=burst)
    assert spend_all(policy, T0, is_withdrawal=False)[0] == additions
    assert spend_all(policy, T0, is_withdrawal=True)[0] == withdrawals


def test_one_token_comes_back_after_each_span() -> None:
    _, empty = spend_all(POLICY, T0, is_withdrawal=True)
    assert budget.spend(empty, POLICY, later(9_999), is_withdrawal=True) is None
    after = budget.spend(empty, POLICY, later(10_000), is_withdrawal=True)
    assert after == UploadBudget(millitokens=0, updated_at=later(10_000))


def test_a_bucket_never_holds_more_than_the_burst() -> None:
    after = budget.spend(budget.initial(POLICY, T0), POLICY, later(10_000_000), is_withdrawal=True)
    assert after is not None
    assert after.millitokens == 4_000


def test_a_smaller_burst_counts_at_once() -> None:
    smaller = Policy(upload_burst=1)
    after = budget.spend(budget.initial(POLICY, T0), smaller, T0, is_withdrawal=False)
    assert after is not None
    assert after.millitokens == 0


def test_time_that_runs_backwards_refills_nothing_and_does_not_stop_later_refills() -> None:
    held = UploadBudget(millitokens=1_000, updated_at=T0)
    earlier = UnixMs(T0 - 60_000)
    after = budget.spend(held, POLICY, earlier, is_withdrawal=True)
    assert after == UploadBudget(millitokens=0, updated_at=earlier)
    assert budget.next_allowed_at(after, POLICY, earlier, is_withdrawal=True) == earlier + 10_000


def test_a_clock_set_far_back_does_not_stop_publishing_until_the_old_time_comes() -> None:
    _, empty = spend_all(POLICY, T0, is_withdrawal=True)
    earlier = UnixMs(T0 - 60_001)
    assert budget.next_allowed_at(empty, POLICY, earlier, is_withdrawal=False) == earlier
    after = budget.spend(empty, POLICY, earlier, is_withdrawal=False)
    assert after == UploadBudget(millitokens=4_000, updated_at=earlier)


_POLICIES = st.builds(
    Policy, upload_burst=st.integers(1, 8), upload_every_ms=st.integers(1, 20_000)
)


@given(
    _POLICIES,
    st.integers(0, 8_000),
    st.integers(-50_000, 200_000),
    st.booleans(),
)
def test_the_next_allowed_instant_is_the_first_at_which_a_token_is_given(
    policy: Policy, millitokens: int, offset: int, is_withdrawal: bool
) -> None:
    held = UploadBudget(millitokens=millitokens, updated_at=T0)
    at = later(offset)
    allowed_at = budget.next_allowed_at(held, policy, at, is_withdrawal=is_withdrawal)
    assert allowed_at >= at
    assert budget.spend(held, policy, allowed_at, is_withdrawal=is_withdrawal) is not None
    if allowed_at > at:
        just_before = UnixMs(allowed_at - 1)
        assert budget.spend(held, policy, just_before, is_withdrawal=is_withdrawal) is None


@given(_POLICIES, st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=60))
def test_no_span_sees_more_than_the_burst_and_what_time_gave(
    policy: Policy, attempts: list[tuple[int, bool]]
) -> None:
    held, at, given_out = budget.initial(policy, T0), T0, 0
    for wait_ms, is_withdrawal in attempts:
        at = UnixMs(at + wait_ms)
        after = budget.spend(held, policy, at, is_withdrawal=is_withdrawal)
        if after is not None:
            held, given_out = after, given_out + 1
    assert given_out <= policy.upload_burst + (at - T0) / policy.upload_every_ms
