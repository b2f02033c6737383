"""The replicated state machine as the engine sees it: four functions and a current state.

Not here: any particular state machine (`core/`), or how commands come to be in one order
(`engine.py`). Raft paper 2, figure 1.

Overview::

    StateMachine(initial, apply, encode, decode)   what the caller brings
    MachineState                                   its current state; applying can't raise
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from rbcluster.core.ids import NodeId
from rbcluster.core.state import Member
from rbcluster.errors import SchemaError

S = TypeVar("S")
V = TypeVar("V")

logger = logging.getLogger(__name__)


class Roster(Protocol):
    """The part of a state that says who belongs to the cluster."""

    @property
    def members(self) -> Mapping[NodeId, Member]:
        """Every node; the same object as long as nothing in it changed."""


class _Nobody:
    members: Mapping[NodeId, Member] = MappingProxyType({})


NOBODY: Roster = _Nobody()


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMachine(Generic[S, V]):
    """A deterministic state machine over immutable states `S` with verdicts `V`."""

    initial: S
    apply: Callable[[S, bytes], tuple[S, V]]  # no clock, no randomness, no I/O
    encode: Callable[[S], bytes]
    decode: Callable[[bytes], S]  # may raise on foreign bytes: they are then refused
    roster: Callable[[S], Roster] = lambda _: NOBODY  # who belongs to the cluster, if it says so


class MachineState(Generic[S, V]):
    """The state that the applied part of the log has led to."""

    def __init__(self, machine: StateMachine[S, V]) -> None:
        self._machine = machine
        self.current: S = machine.initial

    def unused(self) -> MachineState[S, V]:
        """Return another state of the same machine, to which nothing was applied."""
        return MachineState(self._machine)

    def apply(self, command: bytes) -> V | None:
        """Apply a committed command.

        An exception would repeat at every tick on every node and stop all commits, so a command
        that raises is a logged no-op everywhere alike. What only this node runs into is let
        through, and stops it instead of letting it diverge.

        :returns: the verdict, or None if the state machine raised.
        :raises SchemaError: if a newer release wrote the command: others can apply it.
        :raises MemoryError: if there is too little here.
        """
        try:
            self.current, verdict = self._machine.apply(self.current, command)
        except (MemoryError, SchemaError):
            raise
        except Exception:
            logger.exception("a bug: the state machine raised; the command counts as a no-op")
            return None
        return verdict

    def trial(self, command: bytes) -> tuple[S, V]:
        """Say what a command would lead to now, without applying it; whatever `apply` raises."""
        return self._machine.apply(self.current, command)

    def members(self, state: S) -> Mapping[NodeId, Member]:
        """Return who belongs to the cluster according to a state."""
        return self._machine.roster(state).members

    def encode(self) -> bytes:
        """Serialise the current state."""
        return self._machine.encode(self.current)

    def decode(self, data: bytes) -> S:
        """Read a serialised state, without adopting it; whatever `StateMachine.decode` raises."""
        return self._machine.decode(data)
