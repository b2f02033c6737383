"""One node of a lab cluster: its `rbcluster run` process, and the tor that process manages.

The daemon is a child, and dies with its owner. Its tor is a daemon of its own, as in production;
its torrc names the owner (`__OwningControllerProcess`), so it follows within 15 seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rbcluster.config import NodePaths
from rbcluster.errors import RbclusterError
from rbcluster.lab.waiting import wait_for
from rbcluster.tor.torrc import LOG_FILE, PID_FILE

COMMAND = Path(sys.executable).with_name("rbcluster")  # as installed beside this Python

_END_TIMEOUT_S = 15.0


class NodeProcess:
    """A node's processes, by its name in a cluster.toml."""

    def __init__(self, config: Path, name: str, paths: NodePaths) -> None:
        self.paths = paths
        self.name = name
        self.log_file = paths.data_dir / "rbcluster.log"
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of `rbcluster run`, or None when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def tor_pid(self) -> int | None:
        """The process id of its tor, or None when that does not run."""
        try:
            pid = int((self.paths.tor_dir / PID_FILE).read_text("ascii"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.paths.tor_dir) in command else None

    def start(self) -> None:
        """Start `rbcluster run`; a running one stays as it is.

        :raises RbclusterError: if it is not installed.
        """
        if self.pid is not None:
            return
        run = [str(COMMAND), "run", "--config", str(self._config), "--node", self.name]
        try:
            with self.log_file.open("ab") as log:
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *run],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the owner
                )
        except FileNotFoundError as error:
            raise RbclusterError(f"{error.filename} is not installed: see README.md") from error

    async def stop(self) -> None:
        """Stop `rbcluster run` as systemd does (SIGTERM); its tor goes on.

        :raises TimeoutError: if it does not end.
        """
        self._signal(self.pid, signal.SIGTERM)
        await self._wait_for_end(with_tor=False)

    async def kill(self, *, with_tor: bool) -> None:
        """Kill `rbcluster run` (SIGKILL) and, if asked, its tor in the same moment.

        :raises TimeoutError: if the kernel does not end them.
        """
        self.send_kill(with_tor=with_tor)
        await self._wait_for_end(with_tor=with_tor)

    def send_kill(self, *, with_tor: bool) -> None:
        """Send SIGKILL without waiting for the end."""
        self._signal(self.pid, signal.SIGKILL)
        if with_tor:
            self._signal(self.tor_pid, signal.SIGKILL)

    def signal_tor(self, number: signal.Signals) -> None:
        """Send a signal to its tor, if that runs."""
        self._signal(self.tor_pid, number)

    def log_text(self) -> str:
        """Read what the daemon has logged so far."""
        try:
            return self.log_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def tor_log_text(self) -> str:
        """Read what its tor has logged so far."""
        try:
            return (self.paths.tor_dir / LOG_FILE).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    @staticmethod
    def _signal(pid: int | None, number: signal.Signals) -> None:
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _wait_for_end(self, *, with_tor: bool) -> None:
        async def look() -> bool | None:
            running = self.pid is not None or (with_tor and self.tor_pid is not None)
            return None if running else True

        await wait_for(look, f"the end of node {self.name}", _END_TIMEOUT_S)
