"""What a next release could be: version 2 of the state machine, with a motto in its state.

It reads everything of version 1, and writes nothing else until version 2 is in force.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rbcluster.core.apply import apply
from rbcluster.core.codec import decode_command, decode_state, encode_state
from rbcluster.core.commands import Applied, RaiseSchema, Refused, Verdict
from rbcluster.core.state import ClusterState, Office
from rbcluster.core.wire import from_bytes, to_bytes
from rbcluster.errors import CommandError
from rbcluster.raft.machine import StateMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTwo:
    """The state of version 1, and what version 2 adds."""

    one: ClusterState = field(default_factory=ClusterState)
    motto: str = ""


def encode_motto(motto: str) -> bytes:
    """Write the command that version 2 brings."""
    return to_bytes([2, 1, motto])


def apply_two(state: StateTwo, data: bytes) -> tuple[StateTwo, Verdict]:
    """Apply a command of either version."""
    match from_bytes(data):
        case [2, 1, str(motto)] if state.one.schema == 2:
            return replace(state, motto=motto), Applied()
        case [2, *_]:
            return state, Refused("schema 2 is not in force")
    try:
        command = decode_command(data)
    except CommandError as error:
        return state, Refused(str(error))
    if isinstance(command, RaiseSchema) and command.version == 2 > state.one.schema:
        if state.one.office != Office(node=command.office_node, term=command.office_term):
            return state, Refused("no office")
        return replace(state, one=replace(state.one, schema=2)), Applied()
    one, verdict = apply(state.one, command)
    return replace(state, one=one), verdict


def encode_two(state: StateTwo) -> bytes:
    """Write a snapshot in the version that is in force."""
    if state.one.schema == 1:
        return encode_state(state.one)
    match from_bytes(encode_state(state.one)):
        case [2, fields]:
            return to_bytes([2, fields, state.motto])
        case _:
            raise AssertionError("a snapshot is its version and its fields")


def decode_two(data: bytes) -> StateTwo:
    """Read a snapshot of either version."""
    match from_bytes(data):
        case [2, fields, str(motto)]:
            one = replace(decode_state(to_bytes([1, fields])), schema=2)
            return StateTwo(one=one, motto=motto)
        case _:
            return StateTwo(one=decode_state(data))


MACHINE_TWO: StateMachine[StateTwo, Verdict] = StateMachine(
    initial=StateTwo(), apply=apply_two, encode=encode_two, decode=decode_two
)
