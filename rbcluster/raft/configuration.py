"""Who votes, as the log says it: configuration entries, and which of them counts.

A node uses the last configuration in its log, committed or not, from the moment that it stands
there; docs/decisions/0006 says why that is safe. A voter is a node with one storage: what comes
back under its name with another one is not that voter.

Layout of such an entry: a type byte, then ``((name, incarnation | None), ...), command`` by
`codec.py`. The command is the state machine's, and leads to the same voters.

Not here: which change is wanted or safe now (`core/membership.py`), links (`roll.py`).

Overview::

    Configuration                     voters, each with the storage that may vote
    encode_entry, decode_entry        <-> (Configuration, command)
    ConfigurationLog                  the last one in a journal, found anew only where it changed
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rbcluster.core.ids import Incarnation, NodeId
from rbcluster.raft import codec
from rbcluster.raft.journal import Journal
from rbcluster.raft.limits import MAX_CONFIGURATION_BYTES
from rbcluster.raft.log_content import Entry

CONFIGURATION = b"\x04"  # type byte of the entry; PySyncObj uses 0 to 3

Configuration = Mapping[NodeId, Incarnation | None]
"""Voters, each with the storage that may vote; None: whichever it has (nodes that were told their
configuration when they were started, and never another)."""


def encode_entry(voters: Configuration, command: bytes) -> bytes:
    """Write a configuration entry, type byte included."""
    wire = tuple(
        (node.name, None if drawn is None else drawn.raw) for node, drawn in sorted(voters.items())
    )
    return CONFIGURATION + codec.dumps((wire, command))


def decode_entry(entry: bytes) -> tuple[Configuration, bytes]:
    """Read a configuration entry.

    :raises ValueError: if it is malformed, or names no voter.
    """
    if entry[:1] != CONFIGURATION or len(entry) > MAX_CONFIGURATION_BYTES:
        raise ValueError("it is no configuration entry")
    match codec.loads(entry[1:]):
        case (tuple(wire), bytes(command)) if wire and command:
            return MappingProxyType(dict(map(_voter, wire))), command
        case _:
            raise ValueError("a configuration entry is malformed")


def _voter(wire: object) -> tuple[NodeId, Incarnation | None]:
    match wire:
        case (str(name), None):
            return NodeId(name), None
        case (str(name), bytes(drawn)):
            return NodeId(name), Incarnation(drawn)
        case _:
            raise ValueError("a configuration entry is malformed")


class ConfigurationLog:
    """The last configuration in a journal.

    A log is determined by index and term of its last entry (Raft paper 5.3, log matching), so only
    what came after the entry looked at last needs to be read.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: tuple[int, int] | None = None  # index and term of the last entry read
        self._found: list[tuple[int, Configuration]] = []  # with index, ascending

    @property
    def last(self) -> tuple[int, Configuration] | None:
        """Index and content of the last configuration entry; None if the journal has none."""
        self._catch_up()
        return self._found[-1] if self._found else None

    def _catch_up(self) -> None:
        last = self._journal[-1]
        if self._seen == (last[1], last[2]):
            return
        first = self._journal[0][1]
        start = 0 if self._seen is None else self._seen[0] - first
        if not self._is_still_there(start):
            start, self._found = 0, []
        for command, index, _ in self._journal[start:]:
            if command[:1] == CONFIGURATION and (not self._found or index > self._found[-1][0]):
                self._found.append((index, decode_entry(command)[0]))
        self._found = [found for found in self._found if found[0] >= first]
        self._seen = (last[1], last[2])

    def _is_still_there(self, position: int) -> bool:
        """Tell whether the entry read last is in the journal as it was."""
        if self._seen is None or not 0 <= position < len(self._journal):
            return False
        entry: Entry = self._journal[position]
        return (entry[1], entry[2]) == self._seen
