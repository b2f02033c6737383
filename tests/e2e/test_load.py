"""Load: visitors on fresh circuits reach each node as often as its share of the points says.

The visits are those of the whole period that is watched anyway (`chronicle.py`): hundreds, each on
circuits of its own, to a cluster that nobody disturbs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt

import pytest

from tests.e2e.chronicle import Chronicle

_NUM_VISITS = 300
_MAX_DEVIATIONS = 4

pytestmark = pytest.mark.timeout(600)  # it may wait for the end of the period


def test_each_node_answers_as_often_as_its_share_of_the_points(
    chronicle: Chronicle, record_property: Callable[[str, object], None]
) -> None:
    visits = [
        visit
        for visit in (*chronicle.refetching, *chronicle.keeping)
        if visit.ok and not chronicle.is_disturbed(visit)
    ]
    shares = [chronicle.shares_at(visit.started_at) for visit in visits]
    answered = Counter(visit.text for visit in visits)
    expected = {node: float(sum(share[node] for share in shares)) for node in shares[0]}
    figures = f"answered {dict(answered)}, expected {expected}"
    record_property("load", figures)
    print(figures)  # noqa: T201 - `pytest -rP` shows it

    assert len(visits) >= _NUM_VISITS
    assert answered.keys() == expected.keys()
    for node, number in expected.items():
        deviation = sqrt(sum(share[node] * (1 - share[node]) for share in shares))
        assert abs(answered[node] - number) <= _MAX_DEVIATIONS * deviation, figures
