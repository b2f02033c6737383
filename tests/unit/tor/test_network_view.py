from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import ConsensusUnavailable, ControlPortError, ParseError
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.hs.hashring import HashRing, slot_times
from rbcluster.hs.keys import IdentityKeypair, SharedRandomValue
from rbcluster.hs.time_period import DescriptorSlot
from rbcluster.tor.connection import RequestRefused
from rbcluster.tor.framing import Reply, ReplyLine
from rbcluster.tor.network_view import Network, parse_network_view, read_network

_VECTORS = Path(__file__).parents[2] / "vectors" / "tor-0.4.9.11" / "uploads"
CONSENSUS = (_VECTORS / "consensus-microdesc.txt").read_bytes()
MICRODESCRIPTORS = (_VECTORS / "microdescriptors.txt").read_bytes()
_KEY = "dir/status-vote/current/consensus-microdesc"


def parse(consensus: bytes = CONSENSUS, *, testing_network: bool = True) -> ConsensusView:
    return parse_network_view(consensus, MICRODESCRIPTORS, testing_network=testing_network)


def with_line(keyword: bytes, line: bytes | None) -> bytes:
    """Put another line in place of the first with a keyword; None removes it."""
    rows = CONSENSUS.split(b"\n")
    place = next(i for i, row in enumerate(rows) if row.split(b" ")[0] == keyword)
    rows[place : place + 1] = [] if line is None else [line]
    return b"\n".join(rows)


def with_params(params: bytes) -> bytes:
    return CONSENSUS.replace(b"\nvoting-delay", b"\nparams " + params + b"\nvoting-delay", 1)


def test_times_and_shared_random_values_are_those_of_the_consensus() -> None:
    view = parse()

    assert view.valid_after == datetime(2026, 11, 22, 4, 4, tzinfo=UTC)
    assert view.fresh_until == view.valid_after + timedelta(seconds=10)
    assert view.valid_until == view.valid_after + timedelta(seconds=20)
    assert view.srv_current == SharedRandomValue(
        base64.b64decode("c95qv0FdxafkI+YKqZZ/KLQwM0BO/rfoKUKb581g1t8=")
    )
    assert view.srv_previous == SharedRandomValue(
        base64.b64decode("zxJao+gBmFMSezvz/VXkEWEQJD5b/z+7AXNCGoLFVW0=")
    )


@pytest.mark.parametrize("slot", DescriptorSlot)
def test_the_hsdirs_are_those_to_which_tor_itself_uploaded(slot: DescriptorSlot) -> None:
    identity = IdentityKeypair.from_seed(b"\x11" * 32).public
    uploads = json.loads((_VECTORS / "uploads.json").read_text())
    view = parse()
    slot_time = slot_times(view)[slot]

    chosen = HashRing.at(view, slot_time).responsible(
        derive_blinded_key(identity, slot_time.period)
    )

    assert {str(hsdir) for hsdir in chosen} == {
        upload["hsdir"] for upload in uploads if upload["slot"] == slot.value
    }


def test_hsdirs_are_sorted_by_fingerprint_without_duplicates() -> None:
    fingerprints = [hsdir.fingerprint for hsdir in parse().hsdirs]

    assert len(fingerprints) == 18
    assert fingerprints == sorted(set(fingerprints))


def test_a_period_of_a_testing_network_lasts_24_votes() -> None:
    assert parse().times.period_length == timedelta(minutes=4)


def test_a_period_of_the_public_network_lasts_a_day() -> None:
    assert parse(testing_network=False).times.period_length == timedelta(days=1)


def test_parameters_of_the_consensus_go_before_defaults() -> None:
    text = b"cc_alg=2 hsdir_interval=60 hsdir_n_replicas=3 hsdir_spread_store=6"
    view = parse(with_params(text), testing_network=False)

    assert view.times.period_length == timedelta(hours=1)
    assert (view.num_replicas, view.spread_store) == (3, 6)


@pytest.mark.parametrize(("given_value", "taken"), [(b"0", 1), (b"1", 1), (b"16", 16), (b"17", 16)])
def test_a_parameter_out_of_range_counts_as_its_bound(given_value: bytes, taken: int) -> None:
    assert parse(with_params(b"hsdir_n_replicas=" + given_value)).num_replicas == taken


def test_a_consensus_without_shared_random_values_has_none() -> None:
    view = parse(CONSENSUS.replace(b"\nshared-rand-", b"\nno-rand-"))

    assert (view.srv_current, view.srv_previous) == (None, None)


@pytest.mark.parametrize(
    ("keyword", "line"),
    [
        (b"s", b"s Fast Guard Running Valid"),
        (b"s", b"s HSDirX Running"),
        (b"pr", b"pr Cons=1-2 HSDir=1"),
        (b"pr", b"pr Cons=1-2 HSDir=3-4"),
        (b"pr", b"pr Cons=1-2"),
        (b"pr", None),
        (b"m", b"m " + b"A" * 43),
    ],
)
def test_a_relay_without_flag_protocol_or_identity_keeps_no_descriptors(
    keyword: bytes, line: bytes | None
) -> None:
    first = CONSENSUS.split(b"\nr ")[1].split(b" ")[1]
    left_out = Fingerprint(base64.b64decode(first + b"="))

    fingerprints = {hsdir.fingerprint for hsdir in parse(with_line(keyword, line)).hsdirs}

    assert len(fingerprints) == 17
    assert left_out not in fingerprints


@pytest.mark.parametrize("versions", [b"2", b"1-2", b"2-7", b"1,2", b"1,2-3"])
def test_a_relay_whose_protocol_versions_include_2_keeps_descriptors(versions: bytes) -> None:
    assert len(parse(with_line(b"pr", b"pr HSDir=" + versions)).hsdirs) == 18


@pytest.mark.parametrize(
    ("consensus", "place"),
    [
        (b"network-status-version 3\n" + CONSENSUS, "consensus, line 1"),
        (CONSENSUS[: CONSENSUS.index(b"\ndirectory-footer")], "directory-footer"),
        (with_line(b"valid-after", b"valid-after yesterday"), "valid-after"),
        (with_line(b"valid-until", None), "valid-until"),
        (with_line(b"fresh-until", b"fresh-until 2026-11-22 04:04:00"), "fresh-until"),
        (with_line(b"shared-rand-current-value", b"shared-rand-current-value 3 AA"), "current"),
        (with_line(b"shared-rand-previous-value", b"shared-rand-previous-value !"), "previous"),
        (with_params(b"hsdir_interval=long"), "params"),
        (with_line(b"r", b"r short"), "relay 1"),
        (with_line(b"r", b"r x AAAA 2038-01-01 00:00:00 127.0.0.1 1 0"), "relay 1"),
        (with_line(b"r", b"r x /// 2038-01-01 00:00:00 127.0.0.1 1 0"), "relay 1"),
        (with_line(b"m", None), "relay 1"),
        (with_line(b"pr", b"pr HSDir=two"), "relay 1"),
    ],
)
def test_a_malformed_consensus_is_refused_with_the_place(consensus: bytes, place: str) -> None:
    with pytest.raises(ParseError, match=place):
        parse(consensus)


def test_a_malformed_microdescriptor_is_refused_with_the_place() -> None:
    broken = MICRODESCRIPTORS.replace(b"\nid ed25519 ", b"\nid ed25519 !", 2)

    with pytest.raises(ParseError, match="microdescriptor 1, id ed25519"):
        parse_network_view(CONSENSUS, broken, testing_network=True)


def test_a_changed_microdescriptor_is_not_the_one_the_consensus_names() -> None:
    changed = MICRODESCRIPTORS.replace(b"\nntor-onion-key ", b"\nntor-onion-key x", 1)
    view = parse_network_view(CONSENSUS, changed, testing_network=True)

    assert len(view.hsdirs) == 17


@given(st.binary(max_size=300), st.integers(0, len(CONSENSUS)), st.integers(0, len(CONSENSUS)))
def test_garbage_in_a_consensus_gives_a_view_or_a_parse_error(
    garbage: bytes, start: int, end: int
) -> None:
    low, high = sorted((start, end))
    try:
        view = parse(CONSENSUS[:low] + garbage + CONSENSUS[high:])
    except ParseError:
        return
    assert len(view.hsdirs) <= 18


@given(st.binary(max_size=300), st.integers(0, len(MICRODESCRIPTORS)))
def test_garbage_in_microdescriptors_gives_a_view_or_a_parse_error(
    garbage: bytes, place: int
) -> None:
    text = MICRODESCRIPTORS[:place] + garbage + MICRODESCRIPTORS[place:]
    try:
        view = parse_network_view(CONSENSUS, text, testing_network=True)
    except ParseError:
        return
    assert {hsdir.ed25519_id for hsdir in view.hsdirs} <= {
        hsdir.ed25519_id for hsdir in parse().hsdirs
    }


async def test_reading_asks_tor_for_consensus_and_microdescriptors() -> None:
    answers = {_KEY: CONSENSUS, "md/all": MICRODESCRIPTORS}

    async def getinfo(key: str) -> bytes:
        return answers[key]

    assert (await read_network(getinfo, None, testing_network=True)).view == parse()


@pytest.mark.parametrize("empty", [b"", b"\n"])
async def test_an_empty_consensus_is_none(empty: bytes) -> None:
    async def getinfo(_: str) -> bytes:
        return empty

    with pytest.raises(ConsensusUnavailable, match="no consensus"):
        await read_network(getinfo, None, testing_network=True)


async def test_a_tor_that_refuses_the_consensus_has_none() -> None:
    async def getinfo(_: str) -> bytes:
        reply = ReplyLine("Could not open. Make sure FetchUselessDescriptors is set to 1.")
        raise RequestRefused("GETINFO", Reply(551, (reply,)))

    with pytest.raises(ConsensusUnavailable, match=r"it is starting, or cut off$"):
        await read_network(getinfo, None, testing_network=True)


async def test_a_lost_connection_is_not_taken_for_a_missing_consensus() -> None:
    async def getinfo(_: str) -> bytes:
        raise ControlPortError("tor closed the connection")

    with pytest.raises(ControlPortError, match="closed"):
        await read_network(getinfo, None, testing_network=True)


async def test_what_has_not_changed_is_the_very_same_network() -> None:
    answers = {_KEY: CONSENSUS, "md/all": MICRODESCRIPTORS}

    async def getinfo(key: str) -> bytes:
        return answers[key]

    first = await read_network(getinfo, None, testing_network=True)
    assert await read_network(getinfo, first, testing_network=True) is first
    answers["md/all"] = b""
    second = await read_network(getinfo, first, testing_network=True)
    assert second.view.hsdirs == ()
    assert second == Network.of(second.view)
