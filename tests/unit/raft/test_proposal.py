from __future__ import annotations

import pytest

from rbcluster.raft.proposal import Outcome, ProposalResult, conclude


@pytest.mark.parametrize("code", [4, 5, 7, 99])
def test_a_command_that_may_be_in_the_log_is_unknown(code: int) -> None:
    result: ProposalResult[int] = conclude(None, code)
    assert result.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_command_that_nobody_took_is_certainly_not_in_the_log(code: int) -> None:
    result: ProposalResult[int] = conclude(None, code)
    assert result.outcome is Outcome.NOT_TAKEN
    assert result.detail


def test_a_command_that_the_leader_denied_is_refused() -> None:
    result: ProposalResult[int] = conclude(None, 6)
    assert (result.outcome, result.detail) == (Outcome.REFUSED, "the leader refused it")


def test_the_verdict_comes_with_a_commit() -> None:
    assert conclude(42, 0) == ProposalResult(outcome=Outcome.COMMITTED, verdict=42, detail="")


def test_the_leaders_reason_comes_with_its_refusal() -> None:
    result: ProposalResult[int] = conclude("not yours", 6)
    assert (result.outcome, result.detail) == (Outcome.REFUSED, "not yours")
