"""What HSDirs really hold: fetched by a visitor's tor, which no node controls.

Of a service's two descriptors only that of the time period in force can be fetched; of the other
one, an HSDir's acceptance is all there is to see.

Overview::

    fetch_held       the descriptors that all responsible HSDirs give out, all within one consensus
    slot_in_force    which of the two descriptors clients fetch now
    talking          a client's tor that talks with HSDirs
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

from rbcluster.errors import RbclusterError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.descriptor import Descriptor, open_descriptor
from rbcluster.hs.hashring import HashRing, SlotTime, slot_times
from rbcluster.hs.time_period import TimePeriod
from rbcluster.lab.tor_process import TorProcess
from rbcluster.tor.connection import ControlConnection, open_connection
from rbcluster.tor.descriptor_fetch import FetchOutcome, fetch_descriptor
from rbcluster.tor.framing import Event
from rbcluster.tor.hs_desc import parse_hs_desc
from rbcluster.tor.hsdir_exchange import HsDirExchange
from rbcluster.tor.network_view import read_network


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What every HSDir that clients ask for a service now holds of it."""

    address: OnionAddress
    period: TimePeriod  # the one in force
    documents: Mapping[Fingerprint, bytes]

    @property
    def descriptors(self) -> Mapping[Fingerprint, Descriptor]:
        """All of them, opened and verified."""
        return {
            hsdir: open_descriptor(document, self.address, self.period)
            for hsdir, document in self.documents.items()
        }


def slot_in_force(view: ConsensusView) -> SlotTime:
    """Find the slot whose descriptor clients fetch under a consensus."""
    period = TimePeriod.containing(view.valid_after, view.times)
    return next(slot for slot in slot_times(view).values() if slot.period == period)


@asynccontextmanager
async def talking(client: TorProcess) -> AsyncIterator[tuple[ControlConnection, HsDirExchange]]:
    """Have a tor talk with HSDirs, and hear what they answer."""
    exchange = HsDirExchange()

    def hear(event: Event) -> None:
        if answer := parse_hs_desc(event):
            exchange.deliver(answer)

    async with open_connection(client.control_socket, hear) as connection:
        await connection.request("AUTHENTICATE")
        await connection.request("SETEVENTS HS_DESC HS_DESC_CONTENT")
        yield connection, exchange


_LAG_S = 30.0  # a visitor's consensus may be so much ahead of the leader's
_POLL_S = 0.5


class NotHeld(RbclusterError):  # noqa: N818 - a state of the world, mostly for a moment
    """An HSDir gave out nothing that clients can use now."""


async def fetch_held(
    client: TorProcess, address: OnionAddress, *, dead: Fingerprint | None = None
) -> Held:
    """Fetch from every responsible HSDir, all within one consensus.

    A consensus that comes meanwhile may turn the period or move the ring, and reaches the leader
    later than the client: then all are asked anew, for half a minute.

    :param dead: one that need not be asked.
    :raises NotHeld: if one of them still has none, or does not answer.
    """
    until = asyncio.get_running_loop().time() + _LAG_S
    while True:
        try:
            return await _fetch_all(client, address, dead)
        except NotHeld:
            if asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(_POLL_S)


async def _fetch_all(client: TorProcess, address: OnionAddress, dead: Fingerprint | None) -> Held:
    view = (await read_network(client.getinfo, None, testing_network=True)).view
    slot = slot_in_force(view)
    hsdirs = HashRing.at(view, slot).responsible(derive_blinded_key(address.identity, slot.period))
    documents = {}
    async with talking(client) as (connection, exchange):
        for hsdir in (h for h in hsdirs if h != dead):
            fetched = await fetch_descriptor(connection, exchange, address, hsdir)
            if fetched.outcome is not FetchOutcome.FOUND:
                raise NotHeld(f"{hsdir}, at {view.valid_after:%H:%M:%S}: {fetched.detail}")
            documents[hsdir] = fetched.document
    after = (await read_network(client.getinfo, None, testing_network=True)).view
    if slot_in_force(after) != slot:
        raise NotHeld("the period turned while they were asked")
    return Held(address=address, period=slot.period, documents=MappingProxyType(documents))
