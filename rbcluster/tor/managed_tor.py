"""A tor that rbcluster runs itself: started detached, kept running, never restarted needlessly.

It is no child of ours: it goes on serving while rbcluster is away, and its introduction points
with it. Whether the tor on hand is ours is told by its pid file and its command line, which names
our torrc.

Not here: when to look again (`controller.py` does, whenever its connection is lost); key files
(`key_directory.py`).

::

    ensure_running   no process           -> write torrc, start
                     runs, same torrc     -> leave it alone
                     runs, another torrc  -> stop, write, start

A changed torrc always means a restart: tor takes a changed ob_config only then, and one that turns
a service into an instance by reload answers no introduction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from pathlib import Path

from stem.version import Version

from rbcluster.errors import TorError
from rbcluster.tor.authentication import check_version
from rbcluster.tor.settings import OB_CONFIG, ServiceSettings, TorSettings
from rbcluster.tor.torrc import LOG_FILE, PID_FILE, encode_torrc

_VERSION_LINE = re.compile(r"Tor version ([0-9]+(?:\.[0-9]+){2,3}(?:-[a-z0-9-]+)?)")
_COMPLAINT = re.compile(r"\[(?:warn|err)\] (.*)")
_START_TIMEOUT_S = 30.0  # `tor` returns once its listeners are open and it has become a daemon
_PID_TIMEOUT_S = 5.0  # it writes its pid just after that
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05  # a process that is no child can only be looked at
_MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path, less its terminating NUL


class ManagedTor:
    """The tor process below one data directory."""

    def __init__(self, settings: TorSettings, services: tuple[ServiceSettings, ...]) -> None:
        self._settings = settings
        self._services = services
        self._dir = settings.tor_dir
        self._torrc = self._dir / "torrc"

    @property
    def pid(self) -> int | None:
        """The running process; None if there is none, or if the pid is somebody else's by now."""
        try:
            pid = int((self._dir / PID_FILE).read_text("ascii"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._torrc) in command else None

    async def ensure_running(self) -> None:
        """Have tor running with the torrc wanted now; a tor that does so is left alone.

        :raises TorError: if tor is missing, too old, or does not start; the text says why.
        """
        self._check_socket_path()
        wanted = {self._torrc: encode_torrc(self._settings, self._services)}
        wanted |= {s.directory / OB_CONFIG: s.ob_config for s in self._services}
        try:
            if self.pid is not None:
                if all(_holds(path, text) for path, text in wanted.items()):
                    return
                await self.stop()
            await self._check_binary()
            self._write_files(wanted)
        except OSError as error:
            raise TorError(
                f"can't prepare tor below {self._dir}: {error}; make it this user's own"
            ) from error
        await self._start()

    async def stop(self) -> None:
        """End tor: SIGTERM, and SIGKILL if it takes more than ten seconds.

        :raises TorError: if it lives on.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid
            if pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            await self._wait_until(running=False, timeout_s=_STOP_TIMEOUT_S)
        if self.pid is not None:
            raise TorError(f"tor (process {self.pid}) can't be ended; end it by hand")

    def _check_socket_path(self) -> None:
        path = os.fsencode(self._settings.control_socket)
        if len(path) > _MAX_SOCKET_PATH_BYTES:
            raise TorError(
                f"{os.fsdecode(path)} is too long for a socket ({len(path)} bytes, at most "
                f"{_MAX_SOCKET_PATH_BYTES}); choose a data directory with a shorter path"
            )

    async def _check_binary(self) -> None:
        code, output = await self._run("--version")
        match = _VERSION_LINE.search(output)
        if code != 0 or match is None:
            raise TorError(
                f"{self._settings.binary!r} --version does not tell a Tor version; "
                "set tor.binary to a tor, or leave it out"
            )
        check_version(Version(match[1]), f"{self._settings.binary!r}")

    def _write_files(self, files: dict[Path, str]) -> None:
        private = (self._dir, self._dir / "data", *(s.directory for s in self._services))
        for directory in private:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)  # tor refuses directories that others can enter
        for path, text in files.items():
            temporary = path.with_name(f".{path.name}.new")
            temporary.write_text(text, "utf-8")
            temporary.chmod(0o600)
            temporary.replace(path)

    async def _start(self) -> None:
        """Run tor until it has become a daemon and told its pid."""
        code, output = await self._run("--defaults-torrc", os.devnull, "-f", str(self._torrc))
        if code != 0:
            complaints = _COMPLAINT.findall(output)
            # The last one only says that there were others.
            reason = " ".join(complaints[:-1] or complaints) or f"exit code {code}"
            raise TorError(
                f"tor did not start with {self._torrc}: {reason}; see {self._dir / LOG_FILE}"
            )
        if not await self._wait_until(running=True, timeout_s=_PID_TIMEOUT_S):
            raise TorError(f"tor died as it started; see {self._dir / LOG_FILE}")

    async def _wait_until(self, *, running: bool, timeout_s: float) -> bool:
        """Wait for tor to run, or not to; return whether it came to that."""
        deadline = time.monotonic() + timeout_s
        while (self.pid is not None) is not running:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def _run(self, *arguments: str) -> tuple[int, str]:
        """Run the tor binary to its end (a daemon's begin).

        :returns: exit code and output, which ends when the last holder of it has closed it.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                self._settings.binary,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TorError(
                f"can't run {self._settings.binary!r} ({error.strerror}); install tor (Debian: "
                "apt-get install tor) or set tor.binary"
            ) from error
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise TorError(
                f"{self._settings.binary!r} did not return within {_START_TIMEOUT_S:g} s"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode("utf-8", "replace")


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text("utf-8") == text
    except (FileNotFoundError, UnicodeDecodeError):
        return False
