from __future__ import annotations

from datetime import timedelta

import pytest

from rbcluster.errors import DescriptorError
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.connection import RequestRefused
from rbcluster.tor.framing import Reply, ReplyLine
from rbcluster.tor.intro_snapshot import GetInfo, read_intro_points
from rbcluster.tor.intro_source import LocalIntroPoints
from tests.unit.tor.fake_control_port import (
    ADDRESS,
    PERIOD,
    TIMES,
    VALID_AFTER,
    make_document,
    make_point,
)

VIEW = ConsensusView(
    valid_after=VALID_AFTER,
    fresh_until=VALID_AFTER + timedelta(hours=1),
    valid_until=VALID_AFTER + timedelta(hours=3),
    times=TIMES,
    srv_current=None,
    srv_previous=None,
    hsdirs=(),
)


def _tor_with(document: bytes) -> GetInfo:
    async def getinfo(key: str) -> bytes:
        assert key == f"hs/service/desc/id/{ADDRESS.label}"
        return document

    return getinfo


@pytest.mark.parametrize("period", [PERIOD.previous(), PERIOD, PERIOD.next()])
async def test_points_are_read_whichever_period_tor_is_in(period: TimePeriod) -> None:
    document = make_document(3, 1, 2, period=period)
    read = await read_intro_points(_tor_with(document), ADDRESS, VIEW)
    assert read == LocalIntroPoints(
        points=(make_point(3), make_point(1), make_point(2)),
        traits=ServiceTraits(),
        origin=ADDRESS,
        period=period,
        document=document,
    )


async def test_a_service_without_a_descriptor_has_no_points() -> None:
    async def getinfo(key: str) -> bytes:
        raise RequestRefused("GETINFO", Reply(552, (ReplyLine(f"Unrecognized {key}"),)))

    assert await read_intro_points(getinfo, ADDRESS, VIEW) is None


@pytest.mark.parametrize(
    "document",
    [
        make_document(1, period=PERIOD.next().next()),
        make_document(1, identity=IdentityKeypair.from_seed(bytes(32))),
        make_document(1)[:-10],
        make_document(1).replace(b"revision-counter 7", b"revision-counter 8"),
        b"",
    ],
    ids=["other period", "other service", "truncated", "changed", "empty"],
)
async def test_a_descriptor_that_does_not_hold_is_refused(document: bytes) -> None:
    with pytest.raises(DescriptorError):
        await read_intro_points(_tor_with(document), ADDRESS, VIEW)
