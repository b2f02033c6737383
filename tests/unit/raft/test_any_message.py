"""A voter that goes mad can be heard by the others without any of them stopping."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rbcluster.raft.messages import BETWEEN_VOTERS, Message, MessageError, check_message
from tests.unit.raft.bench import PEERS, Bench, entry

SMALL = st.integers(1, 6)
TERMS = st.integers(1, 3)


def of(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


CANDIDACY = {"term": TERMS, "last_log_index": SMALL, "last_log_term": TERMS}
APPEND = {"term": TERMS, "commit_index": st.integers(1, 9)}
ENTRIES = st.builds(
    lambda first, terms: tuple(entry(first + i, t) for i, t in enumerate(sorted(terms))),
    SMALL,
    st.lists(TERMS, max_size=3),
)
CHUNKS = st.sampled_from([None, (b"x", True, False), (b"y", False, False), (b"", False, True)])
OUTCOMES = {"request_id": SMALL, "log_idx": SMALL, "log_term": TERMS}

MESSAGES = st.one_of(
    of("request_pre_vote", **CANDIDACY),
    of("response_pre_vote", term=TERMS, known_term=TERMS),
    of("request_vote", **CANDIDACY),
    of("response_vote", term=TERMS),
    of("append_entries", **APPEND, prevLogIdx=SMALL, prevLogTerm=TERMS, entries=ENTRIES),
    of(
        "append_entries",
        **APPEND,
        prevLogIdx=st.none(),
        prevLogTerm=st.none(),
        entries=ENTRIES,
    ),
    of("append_entries", **APPEND, serialized=CHUNKS),
    of(
        "next_node_idx", next_node_idx=st.integers(2, 9), reset=st.booleans(), success=st.booleans()
    ),
    of("apply_command", command=st.just(b"\x00x"), request_id=SMALL),
    of("apply_command_response", **OUTCOMES),
    of("apply_command_response", request_id=SMALL, error=st.integers(1, 7)),
    of("timeout_now", term=TERMS),
)


@given(st.lists(st.tuples(st.sampled_from(PEERS), MESSAGES), max_size=25))
def test_no_sequence_of_messages_of_the_right_form_stops_a_node(
    story: list[tuple[Any, Message]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        for peer in PEERS:
            bench.replica.link_up(peer, is_learner=False)
        committed = 1
        try:
            for peer, message in story:
                try:
                    check_message(message, BETWEEN_VOTERS)
                except MessageError:
                    continue
                bench.replica.receive(peer, message)
                bench.replica.tick()
                assert bench.replica.raftCommitIndex >= committed
                committed = bench.replica.raftCommitIndex
        finally:
            bench.storage.close()
