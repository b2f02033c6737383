"""PySyncObj's messages as a peer may send them: which types from whom, which fields, which ranges.

PySyncObj checks nothing: a forged message replaces leader and term, cuts the log, changes the
membership. So everything from a link passes here first. A message is a dict with a ``type``:

====================== ================================= ====================== =========
type                   from                              fields
====================== ================================= ====================== =========
request_pre_vote       voter to voter                    ours: as request_vote, see `canvass.py`
response_pre_vote      voter to voter                    ours: term, known_term
request_vote           voter to voter                    term, last_log_index, last_log_term
response_vote          voter to voter                    term
append_entries         voter                             term, commit_index, and either prevLogIdx,
                                                         prevLogTerm, entries or serialized
next_node_idx          anyone                            next_node_idx, reset, success
apply_command          anyone                            command, request_id
apply_command_response voter                             request_id and log_idx, log_term or error
                                                         (and reason: ours, why it was refused)
timeout_now            voter to voter                    term
====================== ================================= ====================== =========

``transmission`` (oversized entries in parts) is never sent: `limits.BATCH_BYTES` sees to that.

Not here: what depends on the state of this node (`pysyncobj_patch.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from rbcluster.raft.configuration import CONFIGURATION, decode_entry
from rbcluster.raft.limits import (
    MAX_COMMAND_BYTES,
    MAX_ENTRIES_PER_MESSAGE,
    MAX_LOG_INDEX,
    MAX_REASON_CHARS,
    MAX_TERM,
    SNAPSHOT_CHUNK_BYTES,
)

Message = dict[str, object]

REGULAR = 0  # first byte of a command of ours
NO_OP = b"\x01"  # the whole entry that a new leader appends


def command_of(entry: bytes) -> bytes | None:
    """Return the state machine's command in a log entry; None: it holds none."""
    if entry[:1] == CONFIGURATION:
        return decode_entry(entry)[1]
    return entry[1:] if entry[:1] == bytes([REGULAR]) else None


BETWEEN_VOTERS = frozenset(
    {
        "request_pre_vote",
        "response_pre_vote",
        "request_vote",
        "response_vote",
        "append_entries",
        "next_node_idx",
        "apply_command",
        "apply_command_response",
        "timeout_now",
    }
)
FROM_LEARNER = frozenset({"next_node_idx", "apply_command"})
HEARTBEATS = frozenset({"append_entries", "next_node_idx"})  # as long as they change nothing


class MessageError(ValueError):
    """A message that no honest peer sends."""


Check = Callable[[object], bool]


def _int(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _bool(value: object) -> bool:
    return type(value) is bool


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _reason(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_REASON_CHARS and value.isprintable()


def _plain_command(value: object) -> bool:
    return (
        isinstance(value, bytes) and 1 < len(value) <= MAX_COMMAND_BYTES + 1 and value[0] == REGULAR
    )


def _configuration(value: object) -> bool:
    """Check an entry that says who votes: only a leader may send one."""
    if not isinstance(value, bytes) or value[:1] != CONFIGURATION:
        return False
    try:
        decode_entry(value)
    except ValueError:
        return False
    return True


def _entries(value: object) -> bool:
    """Check a run of log entries: plain, without a gap, of terms that never fall."""
    if not isinstance(value, tuple) or len(value) > MAX_ENTRIES_PER_MESSAGE:
        return False
    before: tuple[int, int] | None = None
    for entry in value:
        match entry:
            case (command, index, term) if (
                (command == NO_OP or _plain_command(command) or _configuration(command))
                and _INDEX(index)
                and _TERM(term)
            ):
                pass
            case _:
                return False
        if before is not None and (index != before[0] + 1 or term < before[1]):
            return False
        before = (index, term)
    return True


def _chunk(value: object) -> bool:
    """Check a part of a snapshot; None is a mere heartbeat."""
    match value:
        case None:
            return True
        case (bytes(data), bool(), bool(is_last)):
            return len(data) <= SNAPSHOT_CHUNK_BYTES and is_last == (not data)
        case _:
            return False


_TERM = _int(0, MAX_TERM)
_INDEX = _int(1, MAX_LOG_INDEX)
_ID = _int(1, 2**63 - 1)
_NEW_TERM = _int(1, MAX_TERM)

Fields = Mapping[str, Check]

_CANDIDACY: Fields = {"term": _NEW_TERM, "last_log_index": _INDEX, "last_log_term": _TERM}

_FORMS: Mapping[str, tuple[Fields, ...]] = MappingProxyType(
    {
        "request_pre_vote": (_CANDIDACY,),
        "response_pre_vote": ({"term": _NEW_TERM, "known_term": _TERM},),
        "request_vote": (_CANDIDACY,),
        "response_vote": ({"term": _NEW_TERM},),
        "append_entries": (
            {
                "term": _NEW_TERM,
                "commit_index": _INDEX,
                "prevLogIdx": _optional(_INDEX),
                "prevLogTerm": _optional(_TERM),
                "entries": _entries,
            },
            {"term": _NEW_TERM, "commit_index": _INDEX, "serialized": _chunk},
        ),
        # Every log begins with the same entry 1, so nobody asks for what comes before 2.
        "next_node_idx": (
            {"next_node_idx": _int(2, MAX_LOG_INDEX), "reset": _bool, "success": _bool},
        ),
        "apply_command": ({"command": _plain_command, "request_id": _ID},),
        "apply_command_response": (
            {"request_id": _ID, "log_idx": _INDEX, "log_term": _NEW_TERM},
            {"request_id": _ID, "error": _int(1, 7)},
            {"request_id": _ID, "error": _int(1, 7), "reason": _reason},
        ),
        "timeout_now": ({"term": _NEW_TERM},),
    }
)


def check_message(value: object, allowed: frozenset[str]) -> Message:
    """Check a message from a link.

    :param value: as `codec.loads` gave it.
    :param allowed: the types that this sender may send to this node.
    :returns: `value` itself.
    :raises MessageError: with the type and what is wrong, never with content.
    """
    if not isinstance(value, dict) or not isinstance(kind := value.get("type"), str):
        raise MessageError("a message is a map with a type")
    if kind not in allowed:
        raise MessageError(f"a message of type {kind[:30]!r} is not for this sender to send")
    fields = value.keys() - {"type"}
    form = next((form for form in _FORMS[kind] if form.keys() == fields), None)
    if form is None:
        raise MessageError(f"{kind} has other fields than it should")
    for name, check in form.items():
        if not check(value[name]):
            raise MessageError(f"{name} of {kind} is out of range")
    _check_together(value, kind)
    return value


def _check_together(message: Message, kind: str) -> None:
    """Check what fields say about each other."""
    entries = message.get("entries")
    if kind != "append_entries" or not isinstance(entries, tuple) or not entries:
        return
    term, previous = message["term"], message["prevLogIdx"]
    if previous is not None and entries[0][1] != previous + 1:  # type: ignore[operator]
        raise MessageError("entries of append_entries do not follow prevLogIdx")
    if entries[-1][2] > term:
        raise MessageError("an entry of append_entries is newer than its term")
