from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.raft.limits import MAX_COMMAND_BYTES, MAX_ENTRIES_PER_MESSAGE, MAX_TERM
from rbcluster.raft.messages import (
    BETWEEN_VOTERS,
    FROM_LEARNER,
    Message,
    MessageError,
    check_message,
)

ENTRIES = ((b"\x00one", 8, 2), (b"\x01", 9, 3))
APPEND: Message = {
    "type": "append_entries",
    "term": 3,
    "commit_index": 7,
    "prevLogIdx": 7,
    "prevLogTerm": 2,
    "entries": ENTRIES,
}
SERIALIZED: Message = {
    "type": "append_entries",
    "term": 3,
    "commit_index": 7,
    "serialized": (b"data", True, False),
}
VOTE: Message = {"type": "request_vote", "term": 3, "last_log_index": 7, "last_log_term": 2}
NEXT: Message = {"type": "next_node_idx", "next_node_idx": 8, "reset": False, "success": True}
APPLY: Message = {"type": "apply_command", "command": b"\x00x", "request_id": 1}
ANSWER: Message = {"type": "apply_command_response", "request_id": 1, "log_idx": 8, "log_term": 3}
DENIED: Message = {"type": "apply_command_response", "request_id": 1, "error": 6}

PRE_VOTE: Message = {**VOTE, "type": "request_pre_vote"}

HONEST = [
    PRE_VOTE,
    {"type": "response_pre_vote", "term": 3, "known_term": 0},
    APPEND,
    {**APPEND, "entries": ()},
    {**APPEND, "prevLogIdx": None, "prevLogTerm": None},
    SERIALIZED,
    {**SERIALIZED, "serialized": (b"", False, True)},
    {**SERIALIZED, "serialized": None},
    VOTE,
    {"type": "response_vote", "term": 3},
    NEXT,
    APPLY,
    {**APPLY, "command": b"\x00" + bytes(MAX_COMMAND_BYTES)},
    ANSWER,
    DENIED,
    {**DENIED, "reason": "not yours to say"},
    {"type": "timeout_now", "term": 3},
]


@pytest.mark.parametrize("message", HONEST)
def test_what_pysyncobj_sends_passes_between_voters(message: Message) -> None:
    assert check_message(message, BETWEEN_VOTERS) is message


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        {},
        {"type": 3},
        {"type": "add_node"},
        {**VOTE, "term": 10**30},
        {**VOTE, "term": MAX_TERM + 1},
        {**VOTE, "term": -1},
        {**VOTE, "term": True},
        {**VOTE, "term": 3.0},
        {**VOTE, "extra": 1},
        {"type": "request_vote", "term": 3},
        {**APPEND, "transmission": "start", "data": b"x"},
        {**APPEND, "serialized": (b"", True, False)},
        {**APPEND, "prevLogIdx": 6},
        {**APPEND, "term": 2},
        {**APPEND, "entries": ((b"\x02membership", 8, 3),)},
        {**APPEND, "entries": ((b"\x03version", 8, 3),)},
        {**APPEND, "entries": ((b"\x01trailing", 8, 3),)},
        {**APPEND, "entries": ((b"\x00", 8, 3),)},
        {**APPEND, "entries": ((b"", 8, 3),)},
        {**APPEND, "entries": ((b"\x00a", 8, 3), (b"\x00b", 10, 3))},
        {**APPEND, "entries": ((b"\x00a", 8, 3), (b"\x00b", 9, 2))},
        {**APPEND, "entries": ((b"\x01", 8, 3, 4),)},
        {
            **APPEND,
            "entries": tuple((b"\x01", 8 + i, 3) for i in range(MAX_ENTRIES_PER_MESSAGE + 1)),
        },
        {**SERIALIZED, "serialized": (b"data", True, True)},
        {**SERIALIZED, "serialized": (b"", True, False)},
        {**SERIALIZED, "serialized": ("data", True, False)},
        {**NEXT, "next_node_idx": 1},
        {**NEXT, "success": 1},
        {**APPLY, "command": b"\x02membership"},
        {**APPLY, "command": b"\x00"},
        {**APPLY, "command": b""},
        {**APPLY, "command": "text"},
        {**APPLY, "command": bytes(MAX_COMMAND_BYTES + 2)},
        {"type": "apply_command", "command": b"\x00x"},
        {**DENIED, "error": 0},
        {**DENIED, "reason": "two\nlines"},
        {**DENIED, "reason": "x" * 301},
    ],
)
def test_what_no_honest_peer_sends_is_refused(message: object) -> None:
    with pytest.raises(MessageError):
        check_message(message, BETWEEN_VOTERS)


@pytest.mark.parametrize("message", [APPEND, SERIALIZED, VOTE, PRE_VOTE, ANSWER])
def test_a_learner_can_neither_lead_nor_vote(message: Message) -> None:
    with pytest.raises(MessageError, match="not for this sender"):
        check_message(message, FROM_LEARNER)
    assert check_message(NEXT, FROM_LEARNER) is NEXT


WIRE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)


@given(
    st.sampled_from(HONEST).flatmap(
        lambda message: st.fixed_dictionaries(
            {name: st.just(value) | WIRE for name, value in message.items()}
        )
    )
)
def test_any_content_passes_or_raises_a_message_error(message: Message) -> None:
    try:
        assert check_message(message, BETWEEN_VOTERS) is message
    except MessageError as error:
        assert str(error)  # noqa: PT017 - both ways are right
