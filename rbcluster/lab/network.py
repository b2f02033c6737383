"""A private Tor network on loopback: directory authorities and relays, nothing of it outside.

It votes every few seconds, so that what takes a day on the public network (time periods, shared
random values) takes minutes: a time period lasts 24 voting intervals.

Not here: tors that use the network (`visitor.py`, `cluster.py`); they join it by carrying
`PrivateNetwork.client_torrc_lines`.

Overview::

    NetworkSize      how many authorities and relays, and how often they vote
    PrivateNetwork   start() -> bootstrapped; client_torrc_lines; stop()
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rbcluster.errors import TorError
from rbcluster.lab.authority_keys import AuthorityPlace, make_authority_keys
from rbcluster.lab.lifetime import Lifetime
from rbcluster.lab.ports import LOOPBACK, PortReservation
from rbcluster.lab.scratch import ScratchDirectory
from rbcluster.lab.tor_process import TorProcess, end_processes
from rbcluster.lab.waiting import wait_for

Progress = Callable[[int, int], None]
"""Called with the number of bootstrapped tors and the number of all."""

BOOTSTRAPPED = r"Bootstrapped 100%"
"""What a tor logs once it can build circuits."""

_SECOND = timedelta(seconds=1)
_HALF_HOUR_S = 1800  # tor wants votes to divide it
_MIN_VOTING_INTERVAL_S = 10  # tor's own least, in a testing network
_VOTE_DELAY_S = 2
_VOTES_UNTIL_LISTED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSize:
    """How large and how quick a private network is.

    With fewer than about 15 relays, clients run out of paths and mark introduction points failed.

    :raises ValueError: if there is no relay or authority, or an interval tor can't vote in.
    """

    num_authorities: int = 3
    num_relays: int = 15
    voting_interval: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if min(self.num_authorities, self.num_relays) < 1:
            raise ValueError("a network needs at least one authority and one relay")
        if self.interval_s < _MIN_VOTING_INTERVAL_S or _HALF_HOUR_S % self.interval_s:
            msg = f"tor can't vote every {self.voting_interval}: use a divisor of 30 min, >= 10 s"
            raise ValueError(msg)

    @property
    def interval_s(self) -> int:
        """The voting interval in seconds."""
        return self.voting_interval // _SECOND


class PrivateNetwork(Lifetime):
    """Directory authorities and relays that are one Tor network, all of it under one directory."""

    def __init__(self, size: NetworkSize | None = None) -> None:
        self.size = size or NetworkSize()
        self._ports = PortReservation()
        self._scratch: ScratchDirectory | None = None
        self._dir_authority_lines: tuple[str, ...] = ()
        self._processes: tuple[TorProcess, ...] = ()

    @property
    def directory(self) -> Path:
        """Where the network lives, and the tors that use it may. Gone after `stop`.

        :raises TorError: if the network does not run.
        """
        if self._scratch is None:
            raise TorError("the private network does not run: start it first")
        return self._scratch.path

    @property
    def processes(self) -> tuple[TorProcess, ...]:
        """Every tor of the network: authorities first."""
        return self._processes

    @property
    def client_torrc_lines(self) -> tuple[str, ...]:
        """What any other tor must carry in its torrc to use this network."""
        return (
            *self._dir_authority_lines,
            "TestingTorNetwork 1",
            "PathsNeededToBuildCircuits 0.67",
            # On loopback tor learns a time-out of some 50 ms and then gives up good circuits.
            "LearnCircuitBuildTimeout 0",
            # Not learned, it would be a minute, and a client that was introduced to a node which
            # died that moment gives up after three. On the public network it learns seconds.
            "CircuitBuildTimeout 5",
        )

    async def start(self, progress: Progress | None = None, timeout_s: float = 180) -> None:
        """Start every tor and wait until all have bootstrapped.

        :param progress: called whenever one more has.
        :raises TorError: if tor is missing or one of them does not bootstrap in time; nothing of
            the network is left then.
        """
        try:
            self._scratch = ScratchDirectory()
            places = [self._place_authority(number) for number in range(self.size.num_authorities)]
            self._dir_authority_lines = tuple(
                await asyncio.gather(*(make_authority_keys(place) for place in places))
            )
            self._processes = (
                *(self._make_authority(place) for place in places),
                *(self._make_relay(number) for number in range(self.size.num_relays)),
            )
            for process in self._processes:
                process.start()
            await self._wait_until_bootstrapped(progress, timeout_s)
            await self._wait_until_listed()
        except BaseException:  # Ctrl-C too: a network that has not started leaves nothing behind
            await self.stop()
            raise

    async def stop(self) -> None:
        """End every process and remove every file; safe to call twice and at any time.

        It waits for nothing but the kernel, so a cancelled task can't leave it half done.
        """
        end_processes(self._processes)
        self._processes = ()
        self._ports.close()
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    async def _wait_until_bootstrapped(self, progress: Progress | None, timeout_s: float) -> None:
        count = 0

        async def follow(process: TorProcess) -> None:
            nonlocal count
            await process.wait_for_log(BOOTSTRAPPED, timeout_s)
            count += 1
            if progress is not None:
                progress(count, len(self._processes))

        try:
            async with asyncio.TaskGroup() as tasks:
                for process in self._processes:
                    tasks.create_task(follow(process))
        except* TorError as failures:
            raise failures.exceptions[0] from failures

    async def _wait_until_listed(self) -> None:
        """Wait until the consensus lists every relay as a keeper of descriptors.

        :raises TorError: if it does not after some more votes.
        """

        async def look() -> bool | None:
            entries = await self._processes[0].getinfo("ns/all")
            return True if entries.count(b" HSDir ") == len(self._processes) else None

        limit_s = _VOTES_UNTIL_LISTED * self.size.interval_s
        try:
            await wait_for(look, "a consensus that lists every relay", limit_s)
        except TimeoutError as error:
            raise TorError(f"the private network is not complete: {error}") from error

    def _place_authority(self, number: int) -> AuthorityPlace:
        return AuthorityPlace(
            name=f"authority{number}",
            data_directory=self.directory / f"authority{number}" / "data",
            or_port=self._ports.reserve(),
            dir_port=self._ports.reserve(),
        )

    def _make_authority(self, place: AuthorityPlace) -> TorProcess:
        interval_s = self.size.interval_s
        lines = [
            *self._relay_lines(place.name, place.or_port),
            "ExitPolicy reject *:*",
            f"DirPort {LOOPBACK}:{place.dir_port}",
            "AuthoritativeDirectory 1",
            "V3AuthoritativeDirectory 1",
            f"V3AuthVotingInterval {interval_s}",
            f"V3AuthVoteDelay {_VOTE_DELAY_S}",
            f"V3AuthDistDelay {_VOTE_DELAY_S}",
            "V3AuthNIntervalsValid 2",
            f"TestingV3AuthInitialVotingInterval {interval_s}",
            f"TestingV3AuthInitialVoteDelay {_VOTE_DELAY_S}",
            f"TestingV3AuthInitialDistDelay {_VOTE_DELAY_S}",
            "TestingDirAuthVoteExit *",
            "TestingDirAuthVoteHSDir *",
            "TestingDirAuthVoteGuard *",
            "TestingMinExitFlagThreshold 0",
        ]
        return TorProcess(self.directory / place.name, lines)

    def _make_relay(self, number: int) -> TorProcess:
        name = f"relay{number}"
        lines = [
            *self._relay_lines(name, self._ports.reserve()),
            "ExitRelay 1",
            "ExitPolicyRejectPrivate 0",
            "ExitPolicy accept 127.0.0.0/8:*",
            "ExitPolicy reject *:*",
        ]
        return TorProcess(self.directory / name, lines)

    def _relay_lines(self, name: str, or_port: int) -> list[str]:
        return [
            *self.client_torrc_lines,
            f"Nickname {name}",
            f"Address {LOOPBACK}",
            f"ORPort {LOOPBACK}:{or_port}",
            "SocksPort 0",
            "AssumeReachable 1",
            "AddressDisableIPv6 1",
            f"ContactInfo {name}@localhost",
            "ShutdownWaitLength 0",
        ]
