"""Load: visitors on fresh circuits reach each node as often as its share of the points says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt

import pytest

from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.visiting import visit_often
from rbcluster.lab.visitor import Visitor
from tests.e2e.care import calm
from tests.e2e.witness import Witness

_NUM_VISITS = 300
_MAX_DEVIATIONS = 4
_CALM_S = 60.0  # for all visits, so that shares stay as they are


@pytest.mark.usefixtures("logs")
async def test_each_node_answers_as_often_as_its_share_of_the_points(
    cluster: LabCluster,
    visitor: Visitor,
    witness: Witness,
    record_property: Callable[[str, object], None],
) -> None:
    document = await calm(cluster, witness, _CALM_S)
    on_show = {node["name"]: node["on_show"] for node in document["nodes"]}
    visits = await visit_often(visitor, cluster.address, _NUM_VISITS)
    answered = Counter(visit.text for visit in visits if visit.ok)
    figures = f"points on show {on_show}, answered {dict(answered)}"
    record_property("load", figures)
    print(figures)  # noqa: T201 - `pytest -rP` shows it

    assert [visit.error for visit in visits if not visit.ok] == []
    for node, num_points in on_show.items():
        share = num_points / sum(on_show.values())
        deviation = sqrt(_NUM_VISITS * share * (1 - share))
        assert abs(answered[node] - _NUM_VISITS * share) <= _MAX_DEVIATIONS * deviation, figures
