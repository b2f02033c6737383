"""``script/sim``: run many seeds on all cores, or replay one and print its timeline."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from multiprocessing.pool import Pool

import click

from tests.sim.mutations import MUTATIONS, unchanged
from tests.sim.scenario import draw
from tests.sim.world import Outcome, run

_BATCH = 100  # seeds between two looks at the clock
_LAST_LINES = 12  # of the timeline, shown with a violation


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried with each seed."""

    mutation: str | None = None

    def run(self, seed: int, *, is_verbose: bool = False) -> Outcome:
        """Live through a seed."""
        change = MUTATIONS[self.mutation] if self.mutation else unchanged
        with change():
            return run(draw(seed), is_verbose=is_verbose)

    @property
    def options(self) -> str:
        """Say this trial as options of ``script/sim``."""
        return f" --mutation {self.mutation}" if self.mutation else ""


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), help="How many; with --minutes, at most.")
@click.option("--minutes", type=click.FloatRange(min=0), help="Stop after so long.")
@click.option("--seed", type=int, help="The first one. Alone: replay it, with its timeline.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count(), show_default=True)
@click.option("--mutation", type=click.Choice(sorted(MUTATIONS)), help="Make this mistake.")
def main(
    *,
    seeds: int | None,
    minutes: float | None,
    seed: int | None,
    jobs: int,
    mutation: str | None,
) -> None:
    """Simulate clusters under faults. Exit code 1: an invariant was violated."""
    trial = Trial(mutation)
    if seed is not None and seeds is None and minutes is None:
        sys.exit(_replay(trial, seed))
    if seeds is None and minutes is None:
        raise click.UsageError("say how many --seeds or --minutes, or which --seed to replay")
    give_up_at = None if minutes is None else time.monotonic() + 60 * minutes
    numbers = islice(count(seed or 0), seeds)
    sys.exit(_run_many(trial, numbers, give_up_at, jobs))


def _replay(trial: Trial, seed: int) -> int:
    scenario = draw(seed)
    click.echo(f"{scenario}\n")
    outcome = trial.run(seed, is_verbose=True)
    click.echo("\n".join(outcome.timeline))
    click.echo(f"\n{outcome.violation or f'healed within {outcome.healed_s:.1f} s'}")
    return 1 if outcome.violation else 0


def _run_many(trial: Trial, numbers: Iterator[int], give_up_at: float | None, jobs: int) -> int:
    began, healed, num_violations = time.monotonic(), [], 0
    with multiprocessing.Pool(jobs) as pool:
        for outcome in _outcomes(pool, partial(_attempt, trial), numbers, give_up_at):
            if outcome.violation:
                num_violations += 1
                click.echo(f"seed {outcome.seed}: {outcome.violation}")
                click.echo("\n".join(outcome.timeline[-_LAST_LINES:]))
                click.echo(f"replay it: script/sim --seed {outcome.seed}{trial.options}\n")
            elif outcome.healed_s is not None:
                healed.append(outcome.healed_s)
    took_s = time.monotonic() - began
    num = len(healed) + num_violations
    click.echo(f"{num} seeds in {took_s:.0f} s: {num_violations} violations")
    if healed:
        p95 = statistics.quantiles(healed, n=20)[-1] if len(healed) > 1 else healed[0]
        click.echo(
            f"healed within: median {statistics.median(healed):.1f} s, p95 {p95:.1f} s, "
            f"max {max(healed):.1f} s (virtual)"
        )
    return 1 if num_violations else 0


def _outcomes(
    pool: Pool, attempt: Callable[[int], Outcome], numbers: Iterator[int], give_up_at: float | None
) -> Iterator[Outcome]:
    """Yield outcomes as they come; batch by batch, for a pool takes all the work it can get."""
    while batch := tuple(islice(numbers, _BATCH)):
        yield from pool.imap_unordered(attempt, batch)
        if give_up_at is not None and time.monotonic() > give_up_at:
            return


def _attempt(trial: Trial, seed: int) -> Outcome:
    try:
        return trial.run(seed)
    except Exception as error:  # noqa: BLE001 - the simulator's own mistake names its seed, too
        return Outcome(seed=seed, violation=f"raised {error!r}", healed_s=None, timeline=())


if __name__ == "__main__":
    main()
