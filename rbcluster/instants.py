"""Instants for time-outs and back-off: they mean something in this process alone.

Not here: instants that nodes tell each other (`UnixMs` in `core/ids.py`), and those that Tor
defines (aware UTC `datetime`).
"""

from __future__ import annotations

from typing import NewType

Monotonic = NewType("Monotonic", float)
"""Seconds since some moment before this process began: what time.monotonic() gives."""

LONG_AGO = Monotonic(float("-inf"))
"""Before every instant: what was due then is due at once."""
