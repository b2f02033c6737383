"""Numbers and spans of time as people say them.

>>> duration(95.2), duration(0.41), count(1, "node"), count(3, "node")
('95 s', '0.4 s', '1 node', '3 nodes')
"""

from __future__ import annotations

import itertools

_UNITS = (("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400))


def duration(seconds: float) -> str:
    """Say a span (>= 0, seconds) in the largest unit of which there are two or more.

    >>> [duration(s) for s in (0, 9.96, 119.4, 120, 7_199, 172_800)]
    ['0 s', '10 s', '119 s', '2 min', '119 min', '2 d']
    """
    if 0 < seconds < 9.95:  # noqa: PLR2004 - below ten, a decimal tells something
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (unit, size), (_, larger) in itertools.pairwise(_UNITS):
        if whole < 2 * larger:
            return f"{whole // size} {unit}"
    unit, size = _UNITS[-1]
    return f"{whole // size} {unit}"


def count(number: int, noun: str) -> str:
    """Say how many of a thing there are."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def printable(text: str) -> str:
    """Show what came from elsewhere without letting it steer the terminal.

    >>> printable("tor" + chr(27) + "[2J" + chr(10) + "0.4.9")
    'tor?[2J?0.4.9'
    """
    return "".join(char if char.isprintable() else "?" for char in text)
