"""HS_DESC events: what tor tells about descriptors it made, sent or fetched.

Spec: control-spec 4.1.25 [HS_DESC], 4.1.26 [HS_DESC_CONTENT].
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from enum import Enum

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import BlindedKey
from rbcluster.tor.framing import Event

UPLOAD_REJECTED = "UPLOAD_REJECTED"
"""The reason of an upload that the HSDir refused."""

_UNEXPECTED = "UNEXPECTED"  # of either: the HSDir's answer was none that tor knows
_FINGERPRINT = re.compile(r"\$?([0-9A-Fa-f]{40})(?:[~=].*)?")
_ADDRESS_AND_HSDIR = 3  # positional arguments of HS_DESC up to the HSDir, the action included


class HsDescAction(Enum):
    """What happened to a descriptor; other actions of tor are of no use here."""

    CREATED = "CREATED"  # tor made one, or exchanged its current one
    UPLOAD = "UPLOAD"  # it begins to upload one; the only action that tells which
    UPLOADED = "UPLOADED"  # an HSDir took it
    FAILED = "FAILED"  # an upload or a fetch came to nothing; the reason says which
    CONTENT = "CONTENT"  # a fetched one, in full (HS_DESC_CONTENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class HsDescEvent:
    """One HS_DESC or HS_DESC_CONTENT event."""

    action: HsDescAction
    service: str  # the address's label, without ".onion"
    hsdir: Fingerprint | None  # None: tor names none
    reason: str = ""  # of a failure: UPLOAD_REJECTED, NOT_FOUND, UNEXPECTED, ...
    content: bytes = b""  # of CONTENT; blank when the fetch failed
    blinded: BlindedKey | None = None  # of UPLOAD: whose descriptor

    @property
    def may_answer_upload(self) -> bool:
        """Whether this can be what became of an upload; other failures are those of fetches."""
        return self.action is HsDescAction.UPLOADED or self.reason in {UPLOAD_REJECTED, _UNEXPECTED}

    @property
    def may_answer_fetch(self) -> bool:
        """Whether this can be what became of a fetch."""
        if self.action is HsDescAction.CONTENT:
            return bool(self.content.strip())
        return self.action is HsDescAction.FAILED and self.reason != UPLOAD_REJECTED


def parse_hs_desc(event: Event) -> HsDescEvent | None:
    """Read an HS_DESC or HS_DESC_CONTENT event.

    :returns: None for other events, actions of no use here, and events too short to use.
    """
    if event.kind == "HS_DESC" and len(event.args) >= _ADDRESS_AND_HSDIR:
        name, service, _, *rest = event.args
        if name not in {"CREATED", "UPLOAD", "UPLOADED", "FAILED"}:
            return None
        return HsDescEvent(
            action=HsDescAction(name),
            service=service,
            hsdir=parse_relay(rest[0]) if rest else None,
            reason=event.keywords.get("REASON", ""),
            blinded=_parse_blinded_key(rest[1]) if name == "UPLOAD" and len(rest) > 1 else None,
        )
    if event.kind == "HS_DESC_CONTENT" and len(event.args) >= _ADDRESS_AND_HSDIR:
        return HsDescEvent(
            action=HsDescAction.CONTENT,
            service=event.args[0],
            hsdir=parse_relay(event.args[2]),
            content=event.data or b"",
        )
    return None


def _parse_blinded_key(text: str) -> BlindedKey | None:
    """Read a descriptor id, which is the base64 of its blinded key; None if it is something else.

    >>> _parse_blinded_key(43 * "A") == BlindedKey(bytes(32))
    True
    """
    try:
        return BlindedKey(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except ValueError:  # no base64, or of another length
        return None


def parse_relay(text: str) -> Fingerprint | None:
    """Read ``$FINGERPRINT~nickname``; None if it is something else, such as UNKNOWN.

    >>> str(parse_relay("$" + "AB" * 20 + "~nick"))
    'ABABABABABABABABABABABABABABABABABABABAB'
    """
    match = _FINGERPRINT.fullmatch(text)
    return None if match is None else Fingerprint.from_hex(match[1])
