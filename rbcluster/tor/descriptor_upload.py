"""Uploads of a descriptor to one HSDir, and its answer.

Always with an explicit SERVER: a bare HSPOST picks HSDirs by the wrong period for half of the
day. The answer is an HS_DESC event, which may never come.

Not here: which descriptor goes where, and repeating (`agent/`).

Spec: control-spec 3.29 [HSPOST].
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum

from rbcluster.errors import ControlPortError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import read_blinded_key, read_revision
from rbcluster.tor.connection import ConnectionOver, ControlConnection, RequestRefused
from rbcluster.tor.hs_desc import UPLOAD_REJECTED, HsDescAction, HsDescEvent
from rbcluster.tor.hsdir_exchange import HsDirExchange, HsDirTalk

UPLOAD_TIMEOUT_S = 30.0
_SECOND_ANSWER_S = 3.0  # ours: how long two answers to two uploads may lie apart


class UploadOutcome(Enum):
    """What became of an upload."""

    UPLOADED = "uploaded"  # the HSDir holds this descriptor
    REJECTED = "rejected"  # it refused: as a rule, it holds this revision or a higher one
    NOT_SENT = "not sent"  # nothing left this node
    NO_ANSWER = "no answer"  # it may hold it or not; send the same revision again


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The outcome, and a sentence on it (empty for UPLOADED)."""

    outcome: UploadOutcome
    detail: str = ""


def always() -> bool:
    """Let an upload go out whenever its turn comes."""
    return True


async def upload_descriptor(
    connection: ControlConnection,
    exchange: HsDirExchange,
    address: OnionAddress,
    document: bytes,
    hsdir: Fingerprint,
    *,
    may_send: Callable[[], bool] = always,
    timeout_s: float = UPLOAD_TIMEOUT_S,
) -> UploadResult:
    """Upload to one HSDir and wait for its answer; uploads to the same one wait for each other.

    :param document: a whole, signed descriptor.
    :param may_send: asked last of all, when the upload's turn has come: nothing is sent unless it
        says so.
    :param timeout_s: for everything, waiting for earlier uploads included.
    :raises DescriptorError: if `document` is no descriptor.
    """
    content = (read_blinded_key(document), read_revision(document))
    line = f"+HSPOST SERVER={hsdir} HSADDRESS={address.label}"
    has_turn = False
    try:
        async with asyncio.timeout(timeout_s), exchange.talk(address, hsdir) as talk:
            if not may_send():
                return UploadResult(UploadOutcome.NOT_SENT, "no longer wanted")
            has_turn = True
            return await _post(connection, talk, line, document, content)
    except TimeoutError:
        if has_turn:
            return UploadResult(UploadOutcome.NO_ANSWER, "the HSDir did not answer in time")
        return UploadResult(UploadOutcome.NOT_SENT, "an earlier upload to it is still unanswered")
    except ControlPortError as error:
        return UploadResult(UploadOutcome.NO_ANSWER, str(error))


async def _post(
    connection: ControlConnection, talk: HsDirTalk, line: str, document: bytes, content: Hashable
) -> UploadResult:
    """Post and wait for the answer; the talk owes it from before the post until it came.

    :raises TimeoutError: if a second answer is needed, and none comes.
    :raises ControlPortError: if the connection is lost meanwhile.
    """
    owed, talk.debt = talk.debt, content
    try:
        await connection.request(line, document)
    except (RequestRefused, ConnectionOver) as error:
        talk.debt = owed
        return UploadResult(UploadOutcome.NOT_SENT, str(error))
    answer = await _next_upload_answer(talk)
    if owed not in (None, content):
        # It may answer what was sent before: only a second one is surely ours.
        async with asyncio.timeout(_SECOND_ANSWER_S):
            answer = await _next_upload_answer(talk)
    talk.debt = None
    return _read_answer(answer)


async def _next_upload_answer(talk: HsDirTalk) -> HsDescEvent:
    while True:
        answer = await talk.next_answer()
        if answer.may_answer_upload:
            return answer


def _read_answer(answer: HsDescEvent) -> UploadResult:
    if answer.action is HsDescAction.UPLOADED:
        return UploadResult(UploadOutcome.UPLOADED)
    if answer.reason == UPLOAD_REJECTED:
        return UploadResult(UploadOutcome.REJECTED, "the HSDir refused the descriptor")
    return UploadResult(UploadOutcome.NO_ANSWER, f"the upload failed ({answer.reason})")
