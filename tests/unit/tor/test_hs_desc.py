from __future__ import annotations

import base64

import pytest

from rbcluster.hs.keys import BlindedKey
from rbcluster.tor.framing import Event, Reply, ReplyLine
from rbcluster.tor.hs_desc import HsDescAction, HsDescEvent, parse_hs_desc
from tests.unit.tor.fake_control_port import ADDRESS, HSDIR

_LABEL = ADDRESS.label
_KEY = "WZoVVUSJ9jXSTGMCMFpWYhwXAAo+KQcLgB2dF1YlvWM"


def _parse(text: str, data: bytes | None = None) -> HsDescEvent | None:
    return parse_hs_desc(Event.parse(Reply(650, (ReplyLine(text, data),))))


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            f"HS_DESC CREATED {_LABEL} UNKNOWN UNKNOWN {_KEY}",
            HsDescEvent(action=HsDescAction.CREATED, service=_LABEL, hsdir=None),
        ),
        (
            f"HS_DESC UPLOADED {_LABEL} UNKNOWN ${HSDIR}~nick",
            HsDescEvent(action=HsDescAction.UPLOADED, service=_LABEL, hsdir=HSDIR),
        ),
        (
            f"HS_DESC UPLOAD {_LABEL} UNKNOWN ${HSDIR}~nick {_KEY} HSDIR_INDEX=00",
            HsDescEvent(
                action=HsDescAction.UPLOAD,
                service=_LABEL,
                hsdir=HSDIR,
                blinded=BlindedKey(base64.b64decode(_KEY + "=")),
            ),
        ),
        (
            f"HS_DESC UPLOAD {_LABEL} UNKNOWN ${HSDIR}~nick nokey",
            HsDescEvent(action=HsDescAction.UPLOAD, service=_LABEL, hsdir=HSDIR),
        ),
        (
            f"HS_DESC UPLOAD {_LABEL} UNKNOWN ${HSDIR}~nick",
            HsDescEvent(action=HsDescAction.UPLOAD, service=_LABEL, hsdir=HSDIR),
        ),
        (
            f"HS_DESC FAILED {_LABEL} NO_AUTH ${HSDIR}=nick {_KEY} REASON=NOT_FOUND",
            HsDescEvent(
                action=HsDescAction.FAILED, service=_LABEL, hsdir=HSDIR, reason="NOT_FOUND"
            ),
        ),
    ],
)
def test_events_are_read(text: str, event: HsDescEvent) -> None:
    assert _parse(text) == event


def test_content_is_read() -> None:
    event = _parse(f"HS_DESC_CONTENT {_LABEL} {_KEY} ${HSDIR}~nick", b"hs-descriptor 3\n")
    assert event is not None
    assert (event.action, event.hsdir) == (HsDescAction.CONTENT, HSDIR)
    assert event.content == b"hs-descriptor 3\n"


@pytest.mark.parametrize(
    "text",
    [
        f"HS_DESC REQUESTED {_LABEL} NO_AUTH ${HSDIR}~nick {_KEY} HSDIR_INDEX=00",
        f"HS_DESC UPLOADED {_LABEL}",
        "HS_DESC",
        "HS_DESC_CONTENT a",
        "CIRC 1 BUILT",
    ],
)
def test_other_and_short_events_are_no_news(text: str) -> None:
    assert _parse(text) is None


@pytest.mark.parametrize("hsdir", ["UNKNOWN", "$12", "$" + "G" * 40])
def test_an_hsdir_without_a_fingerprint_is_unknown(hsdir: str) -> None:
    event = _parse(f"HS_DESC UPLOADED {_LABEL} UNKNOWN {hsdir}")
    assert event is not None
    assert event.hsdir is None
