"""Tor's own snapshot of a service's introduction points, verified: what it would publish now.

Tor re-encodes its first descriptor. It is trusted only after its signatures and certificates hold
and its blinded key belongs to the address. It is no health signal, and says nothing of the second
descriptor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from rbcluster.errors import DecryptionError, DescriptorError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.descriptor import find_period, open_descriptor
from rbcluster.tor.connection import RequestRefused
from rbcluster.tor.intro_source import LocalIntroPoints

GetInfo = Callable[[str], Awaitable[bytes]]
"""Ask tor for one value."""


class SnapshotSource:
    """The last snapshot of each of the node's own addresses."""

    def __init__(self) -> None:
        self._listed: dict[OnionAddress, LocalIntroPoints] = {}
        self._warnings: dict[OnionAddress, str] = {}

    @property
    def warnings(self) -> Mapping[OnionAddress, str]:
        """Why the snapshot of an address can't be used."""
        return MappingProxyType(self._warnings)

    def listed(self, own: OnionAddress) -> LocalIntroPoints | None:
        """Return all points of the last snapshot; None if there is none that holds."""
        return self._listed.get(own)

    async def read(self, getinfo: GetInfo, own: OnionAddress, view: ConsensusView) -> None:
        """Read an address's snapshot again.

        :raises ControlPortError: if tor doesn't answer.
        """
        self._warnings.pop(own, None)
        found = None
        try:
            found = await read_intro_points(getinfo, own, view)
        except DecryptionError:
            self._warnings[own] = (
                "tor's descriptor can't be opened; a service for authorized clients can't be "
                "merged yet, so remove its authorized_clients and restart tor"
            )
        except DescriptorError as error:
            self._warnings[own] = f"tor's descriptor does not hold: {error}"
        if found is None:
            self._listed.pop(own, None)
        else:
            self._listed[own] = found


async def read_intro_points(
    getinfo: GetInfo, own: OnionAddress, view: ConsensusView
) -> LocalIntroPoints | None:
    """Read and verify what tor would publish for an address now.

    :param view: the newest consensus known; its period and both neighbours are tried.
    :returns: all points of the snapshot, alive or not; None if tor has no descriptor yet.
    :raises DescriptorError: if the snapshot does not hold.
    :raises ControlPortError: if tor doesn't answer.
    """
    try:
        document = await getinfo(f"hs/service/desc/id/{own.label}")
    except RequestRefused:
        return None
    period = find_period(document, own, view.candidate_periods)
    return LocalIntroPoints.of(open_descriptor(document, own, period), document)
