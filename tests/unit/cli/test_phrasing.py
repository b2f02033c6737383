"""Numbers and spans as people say them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.cli.phrasing import count, duration, printable


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (86_400 * 400, "400 d"),
    ],
)
def test_a_span_is_said_in_the_largest_unit_of_which_there_are_two(
    seconds: float, said: str
) -> None:
    assert duration(seconds) == said


def test_one_is_singular() -> None:
    assert [count(n, "node") for n in range(3)] == ["0 nodes", "1 node", "2 nodes"]


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)
