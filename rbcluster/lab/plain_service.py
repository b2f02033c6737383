"""An onion service as tor runs it by itself: what the cluster's services are compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rbcluster.errors import TorError
from rbcluster.hs.address import OnionAddress
from rbcluster.lab.lifetime import Lifetime
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.tor_process import TorProcess
from rbcluster.tor.connection import open_connection
from rbcluster.tor.framing import Event
from rbcluster.tor.settings import OB_CONFIG

_START_TIMEOUT_S = 120.0
_ARGS_WITH_HSDIR = 4  # action, address, authorization, HSDir


class PlainService(Lifetime):
    """A tor with one onion service, a new key, and nothing of ours in it.

    :param target: host and port that visitors of its port 80 are led to.
    :param options: further lines of torrc that belong to the service.
    :param master: an address for which it answers as well, if that is merged from it.
    """

    def __init__(
        self,
        network: PrivateNetwork,
        name: str,
        target: tuple[str, int],
        options: Sequence[str] = (),
        *,
        master: OnionAddress | None = None,
    ) -> None:
        self._master = master
        self._directory = network.directory / name
        host, port = target
        lines = [
            *network.client_torrc_lines,
            "SocksPort 0",
            f"HiddenServiceDir {self._directory}/service",
            f"HiddenServicePort 80 {host}:{port}",
            *options,
            *(["HiddenServiceOnionbalanceInstance 1"] if master else []),
        ]
        self.tor = TorProcess(self._directory, lines)

    @property
    def key_file(self) -> Path:
        """Where tor keeps its master key."""
        return self._directory / "service" / "hs_ed25519_secret_key"

    @property
    def address(self) -> OnionAddress:
        """Its address; tor makes one as it starts."""
        return OnionAddress.parse((self._directory / "service" / "hostname").read_text())

    async def start(self) -> None:
        """Start tor and wait until every HSDir has its descriptors.

        :raises TorError: if that takes two minutes.
        """
        if self._master is not None:  # tor wants the file before it reads the option
            self.key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = f"MasterOnionAddress {self._master}\n"
            (self.key_file.parent / OB_CONFIG).write_text(names, "ascii")
        self.tor.start()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self.tor.wait_for_log(r"Bootstrapped \d", _START_TIMEOUT_S)
                await self._wait_for_uploads()
        except TimeoutError as error:
            await self.stop()
            msg = f"tor did not publish its service within {_START_TIMEOUT_S:g} s"
            raise TorError(f"{msg}: see {self.tor.log_file}") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it; safe to call twice."""
        self.tor.kill()

    async def _wait_for_uploads(self) -> None:
        """Wait until no HSDir owes an answer; tor begins all uploads in one turn.

        One that never comes, since the request died, is made up for by tor's next upload.
        """
        owing: set[str] = set()
        all_answered = asyncio.Event()

        def take(event: Event) -> None:
            action, *_, hsdir = event.args[:_ARGS_WITH_HSDIR]
            if action == "UPLOAD":
                owing.add(hsdir)
            elif action == "UPLOADED":
                owing.discard(hsdir)
                if not owing:
                    all_answered.set()

        async with open_connection(self.tor.control_socket, take) as connection:
            await connection.request("AUTHENTICATE")
            await connection.request("SETEVENTS HS_DESC")
            await all_answered.wait()
