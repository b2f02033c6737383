"""A state machine for tests: a list of everything that was committed."""

from __future__ import annotations

import msgpack

from rbcluster.raft.machine import StateMachine

Ledger = tuple[bytes, ...]


def apply(state: Ledger, command: bytes) -> tuple[Ledger, int]:
    """Append the command; the verdict is the length. A command ``poison`` raises."""
    if command == b"poison":
        raise RuntimeError("poisoned")
    return (*state, command), len(state) + 1


def decode(data: bytes) -> Ledger:
    """Read what `encode` wrote."""
    return tuple(msgpack.unpackb(data))


def encode(state: Ledger) -> bytes:
    """Serialise; equal states give equal bytes."""
    return msgpack.packb(state)


LEDGER: StateMachine[Ledger, int] = StateMachine(
    initial=(), apply=apply, encode=encode, decode=decode
)
