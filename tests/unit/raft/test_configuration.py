from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.raft import codec
from rbcluster.raft.configuration import (
    CONFIGURATION,
    ConfigurationLog,
    decode_entry,
    encode_entry,
)
from rbcluster.raft.limits import MAX_CONFIGURATION_BYTES
from rbcluster.raft.machine import MachineState
from rbcluster.raft.messages import BETWEEN_VOTERS, MessageError, check_message
from rbcluster.raft.storage import open_storage
from tests.shared.ledger import LEDGER
from tests.unit.raft.bench import place

A, B = NodeId("a"), NodeId("b")
DISK = Incarnation(bytes(16))
APPEND = {
    "type": "append_entries",
    "term": 5,
    "commit_index": 1,
    "prevLogIdx": 1,
    "prevLogTerm": 0,
}


def entry(index: int, *names: str, term: int = 1) -> tuple[bytes, int, int]:
    voters = {NodeId(name): DISK for name in names}
    return encode_entry(voters, b"command"), index, term


def test_an_entry_comes_back() -> None:
    voters = {B: None, A: DISK}
    assert decode_entry(encode_entry(voters, b"command")) == (voters, b"command")


@pytest.mark.parametrize(
    "value",
    [
        ((), b"c"),
        ((("a", None),), b""),
        ((("A a", None),), b"c"),
        ((("a", b"short"),), b"c"),
        ((("a",),), b"c"),
        (("a", None), b"c"),
        5,
    ],
)
def test_a_malformed_entry_is_refused(value: object) -> None:
    data = CONFIGURATION + codec.dumps(value)
    with pytest.raises(ValueError):  # noqa: PT011 - whichever rule it breaks
        decode_entry(data)
    with pytest.raises(MessageError):
        check_message({**APPEND, "entries": ((data, 2, 5),)}, BETWEEN_VOTERS)


def test_an_entry_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="no configuration entry"):
        decode_entry(CONFIGURATION + bytes(MAX_CONFIGURATION_BYTES))


def test_only_a_leader_may_say_who_votes() -> None:
    command = entry(2, "a")[0]
    message = {**APPEND, "entries": ((command, 2, 5),)}
    assert check_message(message, BETWEEN_VOTERS) is message
    forwarded = {"type": "apply_command", "command": command, "request_id": 1}
    with pytest.raises(MessageError):
        check_message(forwarded, BETWEEN_VOTERS)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "configure", "overwrite", "trim", "clear"]), st.integers(1, 9)
    ),
    max_size=30,
)


@given(STEPS)
def test_what_is_found_anew_is_what_a_look_at_the_whole_log_finds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    directory: Path = tmp_path_factory.mktemp("log")
    storage = open_storage(place(directory), MachineState(LEDGER))
    journal, term = storage.journal, 1
    journal.add(b"\x01", 1, 0)
    log = ConfigurationLog(journal)
    for what, number in steps:
        last = journal[-1][1]
        match what:
            case "add":
                journal.add(b"\x00x", last + 1, term)
            case "configure":
                journal.add(*entry(last + 1, f"n{number}", term=term))
            case "overwrite":
                term += 1
                journal.add(*entry(max(journal[0][1] + 1, last + 1 - number), "o", term=term))
            case "trim":
                journal.deleteEntriesTo(min(number, len(journal) - 1))
            case "clear":
                journal.clear()
                journal.add(b"\x00snapshot", last + 10, term)
        found = [(i, decode_entry(c)[0]) for c, i, _ in journal[:] if c[:1] == CONFIGURATION]
        if found or what != "trim":  # after a trim the snapshot says the same, until the log grows
            assert log.last == (found[-1] if found else None)
    storage.close()
