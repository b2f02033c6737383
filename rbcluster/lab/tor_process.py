"""One tor process of the lab: start it from a list of torrc lines, read its log, end it.

It is a plain child without ties to an event loop, so that one private network can serve tests
that each run a loop of their own. It never outlives its owner: the kernel kills it when the owner
dies (`setpriv --pdeathsig`), and should the owner die before that is in force, tor itself notices
(`__OwningControllerProcess`).

Not the tor of a node: that one is started and kept by the node itself (`rbcluster/tor`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rbcluster.errors import TorError
from rbcluster.lab.waiting import wait_for
from rbcluster.tor.connection import open_connection
from rbcluster.tor.framing import Event

_REAP_S = 10.0
_LOG_TAIL_LINES = 5


class TorProcess:
    """A tor with a directory, a torrc and a log of its own.

    :param directory: made if missing (0700); holds torrc, log, control socket and tor's data.
    :param torrc_lines: the options, less those set here (data directory, log, control socket).
    """

    def __init__(self, directory: Path, torrc_lines: Sequence[str]) -> None:
        self.directory = directory
        self.torrc = directory / "torrc"
        self.log_file = directory / "log"
        self.control_socket = directory / "control"
        self._complaints_file = directory / "complaints"  # of a tor that can't open its log
        self._torrc_lines = torrc_lines
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        """Write the torrc and start tor; a running one stays as it is.

        :raises TorError: if tor or setpriv is not installed.
        """
        if self.pid is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)  # tor demands it of a directory with a control socket
        self.log_file.unlink(missing_ok=True)
        self.torrc.write_text("\n".join([*self._own_lines(), *self._torrc_lines]) + "\n")
        command = ["setpriv", "--pdeathsig", "KILL", "tor", "--hush", "-f", str(self.torrc)]
        try:
            with self._complaints_file.open("wb") as complaints:
                self._process = subprocess.Popen(
                    [*command, "--defaults-torrc", os.devnull],
                    stdin=subprocess.DEVNULL,
                    stdout=complaints,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                    start_new_session=True,  # Ctrl-C is for the owner, which then ends its tors
                )
        except FileNotFoundError as error:
            msg = f"{error.filename} is not installed: install the packages tor and util-linux"
            raise TorError(msg) from error

    def _own_lines(self) -> list[str]:
        return [
            f"DataDirectory {self.directory}/data",
            f"Log notice file {self.log_file}",
            f"ControlSocket {self.control_socket}",
            f"__OwningControllerProcess {os.getpid()}",
            "CookieAuthentication 0",  # the directory is ours alone
            "SafeLogging 0",
            "AvoidDiskWrites 1",
            "NumCPUs 1",
            f"GeoIPFile {os.devnull}",  # all of the lab is in one place; saves seconds and memory
            f"GeoIPv6File {os.devnull}",
        ]

    def log_lines(self) -> list[str]:
        """Read its log so far (empty before it has written any)."""
        try:
            return self.log_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    async def wait_for_log(self, pattern: str, timeout_s: float) -> str:
        """Wait until a line of its log matches a regular expression, and return that line.

        :raises TorError: if tor ends before, or the time is over.
        """
        expression = re.compile(pattern)

        async def look() -> str | None:
            lines = self.log_lines()
            found = next((line for line in lines if expression.search(line)), None)
            if found is None and self.pid is None:
                raise TorError(f"tor in {self.directory} ended: {self._complaints()}")
            return found

        try:
            return await wait_for(look, f"{pattern!r} in the log of tor", timeout_s)
        except TimeoutError as error:
            last = " / ".join(self.log_lines()[-_LOG_TAIL_LINES:]) or "its log is empty"
            raise TorError(f"tor in {self.directory}: {error}: {last}") from error

    def _complaints(self) -> str:
        text = self._complaints_file.read_text(errors="replace")
        return " / ".join(text.splitlines()[-_LOG_TAIL_LINES:]) or "it was killed"

    async def getinfo(self, key: str) -> bytes:
        """Ask it for one piece of information.

        :raises ControlPortError: if it does not know it, or does not answer in time.
        """
        async with open_connection(self.control_socket, _ignore) as connection:
            await connection.request("AUTHENTICATE")
            return await connection.getinfo(key)

    async def request(self, *lines: str) -> None:
        """Send it control commands, one after another.

        :raises ControlPortError: if it refuses one, or does not answer in time.
        """
        async with open_connection(self.control_socket, _ignore) as connection:
            for line in ("AUTHENTICATE", *lines):
                await connection.request(line)

    def kill(self) -> None:
        """End it at once (SIGKILL) and reap it; safe to call twice."""
        end_processes([self])

    def send_kill(self) -> None:
        """Send SIGKILL without waiting for the end: `reap` does."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Wait for the end of a killed process."""
        if self._process is not None:
            self._process.wait(timeout=_REAP_S)
            self._process = None


def end_processes(processes: Iterable[TorProcess]) -> None:
    """Kill all of them, then reap all of them."""
    processes = list(processes)
    for process in processes:
        process.send_kill()
    for process in processes:
        process.reap()


def _ignore(_: Event) -> None:
    """Hear no event: none was asked for."""
