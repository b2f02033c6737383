from __future__ import annotations

import asyncio

from rbcluster.raft.throttle import Throttle
from tests.shared.virtual_time import run_virtually


def test_a_subject_gets_one_line_a_minute() -> None:
    async def story() -> None:
        throttle = Throttle()
        assert [throttle.permits("a"), throttle.permits("b"), throttle.permits("a")] == [
            True,
            True,
            False,
        ]
        await asyncio.sleep(59)
        assert not throttle.permits("a")
        await asyncio.sleep(2)
        assert throttle.permits("a")

    run_virtually(story())


def test_many_subjects_do_not_get_many_lines() -> None:
    async def story() -> None:
        throttle = Throttle()
        assert sum(throttle.permits(f"stranger {i}") for i in range(5000)) == 100
        await asyncio.sleep(61)
        assert throttle.permits("a")

    run_virtually(story())
