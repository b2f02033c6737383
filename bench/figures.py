"""How every benchmark says what it measured: the median and the 95th percentile, in one form.

Overview::

    show_heading   the line above the table: what its columns are
    show           a line of the table, for one quantity measured in several trials
    p95            the 95th percentile alone
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

MIN_TRIALS = 20  # fewer say nothing of one case in twenty


def show_heading() -> None:
    """Print what the columns of `show` are."""
    print(f"{'':30}{'median':>10}{'p95':>10}{'max':>10}", flush=True)


def show(name: str, values: Sequence[float], unit: str) -> None:
    """Print one quantity; the trials' values are in `unit`."""
    columns = (statistics.median(values), p95(values), max(values))
    figures = "".join(f"{value:10.2f}" for value in columns)
    print(f"{name:30}{figures} {unit:5} n={len(values)}", flush=True)


def p95(values: Sequence[float]) -> float:
    """Return the smallest value that 95 of 100 do not exceed."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """Convert times in seconds."""
    return [1000 * value for value in seconds]
