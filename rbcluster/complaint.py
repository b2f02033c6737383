"""What is wrong for longer than a start or an election takes: logged once, as a warning.

Not here: what is wrong for certain (a tor that died, a disk that fails), which is logged at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from rbcluster.instants import Monotonic

PATIENCE_S = 10.0  # ours: an election takes less, and so does a tor in finding its first consensus


@dataclass(slots=True)
class Complaint:
    """One thing that may be wrong, in words that may change while it is."""

    log: logging.Logger
    subject: str  # what comes before the colon
    _since: Monotonic | None = field(default=None, init=False)
    _said: str = field(default="", init=False)

    def note(self, why: str, *, now: Monotonic) -> None:
        """Take in what is wrong now, and log it if it has lasted.

        :param why: a sentence; empty if nothing is.
        """
        if not why:
            if self._said:
                self.log.info("%s: that is over", self.subject)
            self._since, self._said = None, ""
            return
        if self._since is None:
            self._since = now
        if now >= self._since + PATIENCE_S and why != self._said:
            self.log.warning("%s: %s", self.subject, why)
            self._said = why
