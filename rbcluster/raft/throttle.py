"""One log line per subject and minute: a peer that keeps failing must not flood the log."""

from __future__ import annotations

import asyncio

_PERIOD_S = 60.0
_MAX_SUBJECTS = 1000  # subjects may be addresses of strangers


class Throttle:
    """Tell which log lines to write; in a running loop."""

    def __init__(self) -> None:
        self._permitted_at: dict[str, float] = {}  # monotonic seconds

    def permits(self, subject: str) -> bool:
        """Tell whether a line about `subject` may be written; it then counts as written."""
        now = asyncio.get_running_loop().time()
        if now - self._permitted_at.get(subject, float("-inf")) < _PERIOD_S:
            return False
        if len(self._permitted_at) >= _MAX_SUBJECTS:
            self._permitted_at.clear()
        self._permitted_at[subject] = now
        return True
