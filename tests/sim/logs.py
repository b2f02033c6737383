"""What the product logs during a run: to the timeline if it is to be read, and bugs to the ledger.

A node goes on after a bug, as it should; here a bug that was logged ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tests.shared.model_disk import Stopped
from tests.sim.loop import current_node
from tests.sim.timeline import Timeline

_LOGGERS = ("rbcluster", "pysyncobj", "asyncio")
_HARMLESS = "the Raft engine stops"  # the machine judges that by itself


class _Listener(logging.Handler):
    def __init__(self, timeline: Timeline, *, is_verbose: bool) -> None:
        super().__init__(logging.INFO if is_verbose else logging.ERROR)
        self._timeline = timeline
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and _is_kill(record.exc_info[1]):
            return
        who, text = current_node() or "-", record.getMessage()
        is_bug = record.levelno >= logging.ERROR and record.exc_info is not None
        is_bug |= record.levelno >= logging.CRITICAL
        if is_bug and not text.startswith(_HARMLESS):
            trace = self._formatter.formatException(record.exc_info) if record.exc_info else ""
            self._timeline.violate(who, f"logged: {text}\n{trace}")
        else:
            self._timeline.note(who, f"({record.levelname.lower()}) {text}")


def _is_kill(error: BaseException | None) -> bool:
    """Tell whether a process was ended in the middle of something (`disk.Disks.stop_at`)."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_kill, error.exceptions))
    return isinstance(error, Stopped)


@contextmanager
def heard(timeline: Timeline, *, is_verbose: bool) -> Iterator[None]:
    """Listen to the product's loggers."""
    listener = _Listener(timeline, is_verbose=is_verbose)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(listener.level)
        logger.propagate = False
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(listener)
            logger.setLevel(level)
            logger.propagate = propagate
