"""How many visitors are connected: joined rendezvous circuits, from circuit lines alone.

A visitor reaches a service over a circuit that a rendezvous point joins to one of the service's.
They come from GETINFO circuit-status and from CIRC and CIRC_MINOR events, as in `intro_watcher.py`.

    CIRC_MINOR ... HS_STATE=HSSR_JOINED  ->  connected  ->  CLOSED, or any other line: gone

An upper bound of those who do something: clients keep idle circuits for minutes, and some stand
here even after the client let go of them (seen with 0.4.9.11).

Not here: who they are (nobody knows), and streams, of which a visitor may have several or none.

Spec: control-spec 4.1.1 [CIRC], 4.1.19 [CIRC_MINOR].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rbcluster.tor.framing import split_arguments


@dataclass(frozen=True, slots=True)
class VisitorWatch:
    """What is known of this tor's joined rendezvous circuits. A new one knows of none."""

    joined: frozenset[tuple[str, str]] = frozenset()  # (circuit id, the service's label)
    touched: frozenset[str] | None = None  # circuits heard of since a snapshot was asked for

    def num_visitors(self, services: frozenset[str]) -> int:
        """Count the visitors of these services, given by their labels."""
        return sum(service in services for _, service in self.joined)

    def after_circuit(self, line: str) -> VisitorWatch:
        """Take in a CIRC or CIRC_MINOR event's text after its kind."""
        circuit, service = _parse_circuit(line)
        if circuit is None:
            return self
        joined = frozenset(entry for entry in self.joined if entry[0] != circuit)
        if service is not None:
            joined |= {(circuit, service)}
        touched = None if self.touched is None else self.touched | {circuit}
        return VisitorWatch(joined, touched)

    def before_snapshot(self) -> VisitorWatch:
        """Remember from here on which circuits events tell of: a snapshot is being asked for."""
        return replace(self, touched=frozenset())

    def after_snapshot(self, lines: Iterable[str]) -> VisitorWatch:
        """Take in the answer to GETINFO circuit-status.

        What events said since it was asked for is at least as new, and stands.
        """
        touched = self.touched or frozenset()
        joined = {entry for entry in self.joined if entry[0] in touched}
        for line in lines:
            circuit, service = _parse_circuit(line)
            if circuit is not None and service is not None and circuit not in touched:
                joined.add((circuit, service))
        return VisitorWatch(frozenset(joined))


def _parse_circuit(line: str) -> tuple[str | None, str | None]:
    """Read ``id status path KEY=value ...``.

    :returns: the circuit's id, and the service's label if it leads to a visitor.
    """
    args, keywords = split_arguments(line)
    if len(args) < 2:  # noqa: PLR2004 - id and status
        return None, None
    circuit, status, *_ = args
    is_joined = (
        status not in {"CLOSED", "FAILED"}
        and keywords.get("PURPOSE") == "HS_SERVICE_REND"
        and keywords.get("HS_STATE") == "HSSR_JOINED"
    )
    return circuit, keywords.get("REND_QUERY") if is_joined else None
