"""The network as tor sees it, reduced to a `ConsensusView`: times, shared random values, HSDirs.

The consensus names each relay, its flags and the digest of its microdescriptor; the
microdescriptor holds its Ed25519 identity. Both are read as tor hands them out, without checking
signatures: tor has done that.

The public network has some 8,000 relays. Of each, four lines matter here, so they are taken from
the text directly: a general parser makes an object for every field of every relay, which takes
ten times as long. It still runs in a thread, with all that takes as long as there are relays:
comparing with the last view, and placing the HSDirs on the hash rings.

Not here: whether the consensus is live (the caller compares `valid_until` with its clock), which
HSDirs are responsible (`hs/hashring.py`).

Spec: dir-spec 3.3 [microdescriptors], 3.4.1 [consensus]; rend-spec-v3 2.2.3 (which relays count).

Overview::

    read_network(getinfo) --asks tor--> parse_network_view(consensus, microdescriptors) -> Network
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from rbcluster.core.plan import SlotRing, derive_slot_rings
from rbcluster.errors import ConsensusUnavailable, ParseError
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.keys import RelayEd25519Id, SharedRandomValue
from rbcluster.hs.params import (
    DEFAULT_INTERVAL_MIN,
    DEFAULT_N_REPLICAS,
    DEFAULT_SPREAD_STORE,
    SRV_ROUNDS_PER_RUN,
)
from rbcluster.hs.time_period import HsTimes
from rbcluster.tor.connection import RequestRefused

GetInfo = Callable[[str], Awaitable[bytes]]
"""GETINFO of one key; raises `ControlPortError`."""

_CONSENSUS_KEY = "dir/status-vote/current/consensus-microdesc"
_MICRODESCRIPTORS_KEY = "md/all"

_FIRST_LINE = b"network-status-version 3 microdesc\n"
_ENTRY_START = b"\nr "
_FOOTER_START = b"\ndirectory-footer\n"
_MICRODESCRIPTOR_START = b"\nonion-key\n"
_ED25519_ID_START = b"\nid ed25519 "
_ENTRY_FIELDS = 7  # nickname, identity, date, time, address, two ports
_SHOWN_BYTES = 60  # of a faulty place, in an error
_HSDIR = b"HSDir"  # a flag, and a protocol
_HSDIR_VERSION = 2  # the protocol version that stores v3 descriptors
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Param:
    """A consensus parameter: its name, default and range. Spec: param-spec; rend-spec-v3."""

    name: bytes
    default: int
    low: int
    high: int


_N_REPLICAS: Final = _Param(b"hsdir_n_replicas", DEFAULT_N_REPLICAS, 1, 16)
_SPREAD_STORE: Final = _Param(b"hsdir_spread_store", DEFAULT_SPREAD_STORE, 1, 128)
_INTERVAL_MIN: Final = _Param(b"hsdir_interval", DEFAULT_INTERVAL_MIN, 30, 14_400)


@dataclass(frozen=True, slots=True)
class Network:
    """A consensus, and what is derived from it once: good for as long as it is."""

    view: ConsensusView
    slot_rings: tuple[SlotRing, ...]  # of `view`

    @classmethod
    def of(cls, view: ConsensusView) -> Network:
        """Place the HSDirs on the rings; takes some 30 ms of the public network's."""
        return cls(view, derive_slot_rings(view))


async def read_network(getinfo: GetInfo, last: Network | None, *, testing_network: bool) -> Network:
    """Ask tor for its consensus and microdescriptors and reduce them.

    :param last: what was read before.
    :param testing_network: whether tor runs with TestingTorNetwork, where a time period lasts 24
        voting intervals whatever the consensus says.
    :returns: `last` itself if nothing has changed.
    :raises ConsensusUnavailable: if tor has no consensus.
    :raises ParseError: if what it has is malformed.
    :raises ControlPortError: as `getinfo` does.
    """
    try:
        consensus = await getinfo(_CONSENSUS_KEY)
        microdescriptors = await getinfo(_MICRODESCRIPTORS_KEY)
    except RequestRefused as error:
        # Not tor's own words: they recommend an option that is of no use here.
        raise ConsensusUnavailable(
            "tor has no consensus yet: it is starting, or cut off"
        ) from error
    if not consensus.strip():
        raise ConsensusUnavailable("tor has no consensus yet: its answer was empty")

    def reduce() -> Network:
        view = parse_network_view(consensus, microdescriptors, testing_network=testing_network)
        return last if last is not None and last.view == view else Network.of(view)

    return await asyncio.to_thread(reduce)


def parse_network_view(
    consensus: bytes, microdescriptors: bytes, *, testing_network: bool
) -> ConsensusView:
    """Reduce a microdescriptor consensus, and the microdescriptors it names, to a view.

    A relay whose microdescriptor is missing is left out, as tor does: it has no known place.

    :raises ParseError: if either is malformed or cut; the text names the place.
    """
    preamble, *entries = consensus.split(_ENTRY_START)
    if not preamble.startswith(_FIRST_LINE):
        msg = f"consensus, line 1: {preamble[:_SHOWN_BYTES]!r} is not {_FIRST_LINE.decode()!r}"
        raise ParseError(msg)
    if _FOOTER_START not in (entries[-1] if entries else preamble):
        raise ParseError("consensus: cut off before its directory-footer")
    ed25519_ids = _read_ed25519_ids(microdescriptors)
    hsdirs: dict[bytes, HsDir] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            hsdir = _read_hsdir(entry, ed25519_ids)
        except ValueError as error:
            shown = entry[:_SHOWN_BYTES]
            raise ParseError(f"consensus, relay {number} ({shown!r}): {error}") from error
        if hsdir is not None:
            hsdirs[hsdir.fingerprint.raw] = hsdir
    ordered = tuple(hsdirs[raw] for raw in sorted(hsdirs))
    return _read_preamble(preamble, ordered, testing_network=testing_network)


def _read_preamble(
    preamble: bytes, hsdirs: tuple[HsDir, ...], *, testing_network: bool
) -> ConsensusView:
    """Read what the consensus says of the network as a whole."""
    items = _items(preamble)
    valid_after = _read_time(items, b"valid-after")
    fresh_until = _read_time(items, b"fresh-until")
    params = _read_params(items.get(b"params", b""))
    voting_interval = fresh_until - valid_after
    period_length = params[_INTERVAL_MIN] * _MINUTE
    if testing_network:
        period_length = SRV_ROUNDS_PER_RUN * voting_interval // _MINUTE * _MINUTE
    try:
        times = HsTimes(voting_interval=voting_interval, period_length=period_length)
    except ValueError as error:
        raise ParseError(f"consensus, fresh-until: {error}") from error
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=fresh_until,
        valid_until=_read_time(items, b"valid-until"),
        times=times,
        srv_current=_read_srv(items, b"shared-rand-current-value"),
        srv_previous=_read_srv(items, b"shared-rand-previous-value"),
        hsdirs=hsdirs,
        num_replicas=params[_N_REPLICAS],
        spread_store=params[_SPREAD_STORE],
    )


def _read_time(items: Mapping[bytes, bytes], keyword: bytes) -> datetime:
    text = items.get(keyword, b"").decode("ascii", errors="replace")
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise ParseError(f"consensus, {keyword.decode()}: {text!r} is no time") from error


def _read_srv(items: Mapping[bytes, bytes], keyword: bytes) -> SharedRandomValue | None:
    """Read a line of number of reveals and value; None where the authorities agreed on none."""
    if keyword not in items:
        return None
    try:
        return SharedRandomValue(_unbase64(items[keyword].split(b" ")[-1]))
    except ValueError as error:
        raise ParseError(f"consensus, {keyword.decode()}: {error}") from error


def _read_params(text: bytes) -> dict[_Param, int]:
    """Read the parameters we go by, each brought into its range as tor does."""
    found = dict(pair.partition(b"=")[::2] for pair in text.split())
    try:
        return {
            param: min(max(int(found.get(param.name, param.default)), param.low), param.high)
            for param in (_N_REPLICAS, _SPREAD_STORE, _INTERVAL_MIN)
        }
    except ValueError as error:
        raise ParseError(f"consensus, params: {error}") from error


def _read_hsdir(entry: bytes, ed25519_ids: Mapping[bytes, RelayEd25519Id]) -> HsDir | None:
    """Read a relay's entry, less its leading ``r``; None if it keeps no v3 descriptors.

    :raises ValueError: if it is malformed.
    """
    first, _, rest = entry.partition(b"\n")
    items = _items(rest)
    if _HSDIR not in items.get(b"s", b"").split() or not _stores_v3(items.get(b"pr", b"")):
        return None
    names = first.split(b" ")
    if len(names) < _ENTRY_FIELDS or b"m" not in items:
        raise ValueError("its line r or its line m is missing or short")
    fingerprint = Fingerprint(_unbase64(names[1]))
    ed25519_id = ed25519_ids.get(items[b"m"].rstrip(b"="))
    return None if ed25519_id is None else HsDir(fingerprint, ed25519_id)


def _stores_v3(protocols: bytes) -> bool:
    """Whether a line of protocol versions (``Cons=1-2 HSDir=2``) has HSDir=2."""
    for protocol in protocols.split():
        name, _, versions = protocol.partition(b"=")
        if name == _HSDIR:
            for span in versions.split(b","):
                low, _, high = span.partition(b"-")
                if int(low) <= _HSDIR_VERSION <= int(high or low):
                    return True
    return False


def _read_ed25519_ids(text: bytes) -> dict[bytes, RelayEd25519Id]:
    """Find the Ed25519 identity in each microdescriptor, by the digest a consensus uses.

    :returns: SHA-256 of the microdescriptor, as base64 without padding -> identity.
    """
    ids: dict[bytes, RelayEd25519Id] = {}
    for number, body in enumerate((b"\n" + text).split(_MICRODESCRIPTOR_START)[1:], start=1):
        _, found, rest = body.partition(_ED25519_ID_START)
        if not found:
            continue  # a relay without one keeps no v3 descriptors
        document = _MICRODESCRIPTOR_START[1:] + body.removesuffix(b"\n") + b"\n"
        digest = base64.b64encode(hashlib.sha256(document).digest()).rstrip(b"=")
        try:
            ids[digest] = RelayEd25519Id(_unbase64(rest.partition(b"\n")[0]))
        except ValueError as error:
            raise ParseError(f"microdescriptor {number}, id ed25519: {error}") from error
    return ids


def _items(section: bytes) -> dict[bytes, bytes]:
    """Split lines into keyword and the rest; of a repeated keyword the last counts."""
    return dict(line.partition(b" ")[::2] for line in section.split(b"\n"))


def _unbase64(text: bytes) -> bytes:
    """Decode base64 with or without its padding.

    :raises ValueError: if it is none.
    """
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
