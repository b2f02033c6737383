"""One log line per subject and minute, and not too many subjects: nobody must flood the log."""

from __future__ import annotations

import asyncio

_PERIOD_S = 60.0
_MAX_SUBJECTS = 100  # in one period: they may be addresses of strangers, who can have many


class Throttle:
    """Tell which log lines to write; in a running loop."""

    def __init__(self) -> None:
        self._permitted_at: dict[str, float] = {}  # monotonic seconds

    def permits(self, subject: str) -> bool:
        """Tell whether a line about `subject` may be written; it then counts as written."""
        now = asyncio.get_running_loop().time()
        if self._is_recent(subject, now):
            return False
        if len(self._permitted_at) >= _MAX_SUBJECTS:
            recent = {s: at for s, at in self._permitted_at.items() if self._is_recent(s, now)}
            self._permitted_at = recent
            if len(recent) >= _MAX_SUBJECTS:
                return False
        self._permitted_at[subject] = now
        return True

    def _is_recent(self, subject: str, now: float) -> bool:
        return now - self._permitted_at.get(subject, float("-inf")) < _PERIOD_S
