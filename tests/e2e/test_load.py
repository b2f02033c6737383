"""Load: visitors on fresh circuits reach each node as often as its share of the points says."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from math import sqrt

from rbcluster.agent.status_document import StatusDocument
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.visitor import Visitor

_VISITS = 300
_VISITS_AT_ONCE = 6
_MAX_DEVIATIONS = 4
_LIMIT_S = 60.0


def shares(document: StatusDocument) -> dict[str, float]:
    """Compute what part of the points on show is each node's."""
    total = sum(node["on_show"] for node in document["nodes"])
    return {node["name"]: node["on_show"] / total for node in document["nodes"]}


async def test_each_node_answers_as_often_as_its_share_of_the_points(
    cluster: LabCluster, visitor: Visitor
) -> None:
    expected: defaultdict[str, float] = defaultdict(float)
    variance: defaultdict[str, float] = defaultdict(float)
    answered: Counter[str] = Counter()
    started = 0

    async def go() -> None:
        nonlocal started
        while started < _VISITS:
            started += 1
            now = shares(await cluster.status())  # they may change under way
            visit = await visitor.visit(cluster.address)
            assert visit.ok, visit.error
            answered[visit.text] += 1
            for node, share in now.items():
                expected[node] += share
                variance[node] += share * (1 - share)

    await cluster.wait_until(is_served, "a merged descriptor", _LIMIT_S)
    await visitor.forget_descriptor(cluster.address)
    async with asyncio.TaskGroup() as visitors:
        for _ in range(_VISITS_AT_ONCE):
            visitors.create_task(go())

    assert answered.total() == _VISITS
    assert set(answered) == set(cluster.nodes)
    for node in cluster.nodes:
        deviations = (answered[node] - expected[node]) / sqrt(variance[node])
        assert abs(deviations) <= _MAX_DEVIATIONS, (node, answered, expected)
    print(f"answered {dict(answered)}, expected {dict(expected)}")  # noqa: T201 - for `pytest -rP`
