"""Seeds lived through: no invariant is violated, and what has healed converges."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

import pytest

from tests.sim import aimed, faults, machine_faults, operators
from tests.sim.faults import Fault
from tests.sim.scenario import draw
from tests.sim.world import run

AT_ONCE = 5  # seeds in one test
MODULES = (aimed, faults, machine_faults, operators)
FAST, ALL = 5, 300
"""So many are run by `script/test fast` and `script/test`; `script/sim` runs more."""


def blocks(first: int, end: int) -> Iterable[int]:
    return range(first, end, AT_ONCE)


def live_through(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        outcome = run(draw(seed))
        last = "\n".join(outcome.timeline[-12:])
        assert outcome.violation is None, f"{last}\nreplay it: script/sim --seed {seed}"


@pytest.mark.no_cover
@pytest.mark.parametrize("first", blocks(0, FAST))
def test_a_few_seeds_hold_every_invariant(first: int) -> None:
    live_through(first)


@pytest.mark.no_cover
@pytest.mark.unhurried
@pytest.mark.parametrize("first", blocks(FAST, ALL))
def test_many_seeds_hold_every_invariant(first: int) -> None:
    live_through(first)


@pytest.mark.no_cover
def test_a_seed_gives_the_same_run_again() -> None:
    assert run(draw(4), is_verbose=True) == run(draw(4), is_verbose=True)


@pytest.mark.no_cover
@pytest.mark.unhurried
def test_a_seed_gives_the_same_run_in_another_process() -> None:
    """Neither the order of sets nor what ran before may matter."""
    printed = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", "--seed", "4"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    assert "\n".join(run(draw(4), is_verbose=True).timeline).encode() in printed[0]


def test_the_seeds_of_a_test_meet_every_kind_of_fault() -> None:
    met = {type(planned.fault) for seed in range(ALL) for planned in draw(seed).faults}
    assert met == {kind for module in MODULES for kind in kinds(module)}


def kinds(module: object) -> set[type]:
    return {
        each
        for each in vars(module).values()
        if isinstance(each, type) and hasattr(each, "begin") and each is not Fault
        if each.__module__ == module.__name__ and not each.__name__.startswith("_")  # type: ignore[attr-defined]
    }
