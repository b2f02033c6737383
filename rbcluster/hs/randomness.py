"""Where random bytes come from: an argument, so that `hs` and `core` stay pure.

The daemon passes `secrets.token_bytes`, a test a counter.
"""

from __future__ import annotations

from collections.abc import Callable

RandomSource = Callable[[int], bytes]
"""Return as many unpredictable bytes as asked for."""
