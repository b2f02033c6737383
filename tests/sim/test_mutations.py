"""The simulator finds mistakes: each of these, made on purpose, within a stated number of seeds."""

from __future__ import annotations

import pytest

from tests.sim.mutations import MUTATIONS
from tests.sim.scenario import draw
from tests.sim.world import run

WITHIN = 400
"""Seeds; most need fewer than fifty (docs/simulator.md has the numbers)."""


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_mistake_made_on_purpose_is_found(name: str) -> None:
    with MUTATIONS[name]():
        assert any(run(draw(seed)).violation for seed in range(WITHIN))
