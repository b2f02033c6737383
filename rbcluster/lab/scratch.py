"""A directory that disappears with its owner, even when the owner is killed with -9.

A dead process removes nothing, so a small shell stands by: its standard input is a pipe that only
the owner holds, and when that pipe closes, by whatever end, it removes the directory.
Processes end by themselves: see `tor_process.py`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

# `read` returns at once when the owner's end of the pipe closes. Processes that die at the same
# moment may still write a file: so until the directory is gone, but not for ever.
_REMOVE_AT_END = """
read -r _ || true
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$1" 2>/dev/null && exit 0
    sleep 0.2
done
"""
_GUARD_STOP_S = 5.0


class ScratchDirectory:
    """A new directory under the system's temporary one (mode 0700), gone when its owner is.

    Its path is short: the Unix sockets inside must stay within 108 bytes.
    """

    def __init__(self, prefix: str = "rbcluster-lab-") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._guard = subprocess.Popen(
            ["sh", "-c", _REMOVE_AT_END, "sh", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the owner's terminal is not for the guard
        )

    def remove(self) -> None:
        """Remove the directory and end the guard; safe to call twice.

        :raises OSError: if the directory can't be removed.
        """
        shutil.rmtree(self.path, ignore_errors=True)  # the guard tries again what fails here
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait(timeout=_GUARD_STOP_S)
        if self.path.exists():
            raise OSError(f"{self.path} can't be removed: look for processes that still use it")
