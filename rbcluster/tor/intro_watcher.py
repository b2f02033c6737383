"""Which introduction circuits stand, from circuit lines alone.

Tor's descriptor snapshot is no health signal: with the network cut it stays as it was. Circuits
are: a service with no established one has nothing to offer, and a relay that has had none for
some seconds is of no use. They come from GETINFO circuit-status and from CIRC and CIRC_MINOR
events, which share one form.

Not here: reading points (`intro_snapshot.py`), clocks (`now` is an argument).

::

    CIRC_MINOR ... HSSI_ESTABLISHED      any line that says otherwise, or CLOSED
      (service, relay) established  ----------------->  lost, still live for GRACE_S
               ^                                              |            |
               +------------------ established again ---------+            +--> tick(): gone

Spec: control-spec 4.1.1 [CIRC], 4.1.19 [CIRC_MINOR].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.instants import Monotonic
from rbcluster.tor.framing import split_arguments
from rbcluster.tor.hs_desc import parse_relay

GRACE_S = 3.0  # ours: a circuit lost to a dead middle hop is back after 0.3 to 2.3 s (measured)
REREAD_AFTER_S = (1.1, 3.0)  # tor renews its snapshot once a second; the second is for a slow tor


@dataclass(frozen=True, slots=True)
class IntroSeat:
    """A relay at which a service waits for introductions."""

    service: str  # the address's label
    relay: Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroWatch:
    """What is known of this tor's introduction circuits. A new one knows of none."""

    established: Mapping[str, IntroSeat] = field(default_factory=lambda: MappingProxyType({}))
    # ^ by circuit id
    lost_at: Mapping[IntroSeat, Monotonic] = field(default_factory=lambda: MappingProxyType({}))
    # ^ seats that lost their last circuit, and when; never also in `established`
    rereads: frozenset[tuple[Monotonic, str]] = (
        frozenset()
    )  # (when, service): read the snapshot again
    touched: frozenset[str] | None = None  # circuits heard of since a snapshot was asked for

    def has_circuit(self, service: str) -> bool:
        """Whether any introduction circuit of this service stands right now."""
        return any(seat.service == service for seat in self.established.values())

    def live_relays(self, service: str) -> frozenset[Fingerprint]:
        """Relays with an established circuit of this service, or one lost just now."""
        seats = (*self.established.values(), *self.lost_at)
        return frozenset(seat.relay for seat in seats if seat.service == service)

    def after_circuit(self, line: str, now: Monotonic) -> IntroWatch:
        """Take in a CIRC or CIRC_MINOR event's text after its kind."""
        circuit, seat = _parse_circuit(line)
        if circuit is None:
            return self
        watch = self
        if self.touched is not None:
            watch = replace(watch, touched=self.touched | {circuit})
        if seat == self.established.get(circuit):
            return watch
        established = {key: old for key, old in self.established.items() if key != circuit}
        if seat is not None:
            established[circuit] = seat
            watch = watch.after_change(seat.service, now)
        return _exchange(watch, established, now)

    def after_change(self, service: str, now: Monotonic) -> IntroWatch:
        """Plan to read this service's snapshot when tor will have renewed it."""
        return replace(
            self, rereads=self.rereads | {(Monotonic(now + s), service) for s in REREAD_AFTER_S}
        )

    def after_rotation(self, service: str, now: Monotonic) -> IntroWatch:
        """Plan to read this service's snapshot at once: tor exchanged its descriptor."""
        watch = self.after_change(service, now)
        return replace(watch, rereads=watch.rereads | {(now, service)})

    def before_snapshot(self) -> IntroWatch:
        """Remember from here on which circuits events tell of: a snapshot is being asked for."""
        return replace(self, touched=frozenset())

    def after_snapshot(self, lines: Iterable[str], now: Monotonic) -> IntroWatch:
        """Take in the answer to GETINFO circuit-status.

        What events said since it was asked for is at least as new, and stands.
        """
        touched = self.touched or frozenset()
        established = {key: seat for key, seat in self.established.items() if key in touched}
        for line in lines:
            circuit, seat = _parse_circuit(line)
            if circuit is not None and seat is not None and circuit not in touched:
                established[circuit] = seat
        return _exchange(replace(self, touched=None), established, now)

    def tick(self, now: Monotonic) -> tuple[IntroWatch, frozenset[str]]:
        """Let time pass.

        :returns: the watch without what is over, and the services whose snapshot is due.
        """
        due = frozenset((at, service) for at, service in self.rereads if at <= now)
        lost = {seat: at for seat, at in self.lost_at.items() if now < at + GRACE_S}
        watch = replace(self, rereads=self.rereads - due, lost_at=MappingProxyType(lost))
        return watch, frozenset(service for _, service in due)

    def next_deadline(self) -> Monotonic | None:
        """When `tick` will next have something to do; None if nothing is pending."""
        deadlines = [Monotonic(at + GRACE_S) for at in self.lost_at.values()]
        deadlines += [at for at, _ in self.rereads]
        return min(deadlines, default=None)


def _exchange(
    watch: IntroWatch, established: Mapping[str, IntroSeat], now: Monotonic
) -> IntroWatch:
    """Set what is established, and note which seats lost their last circuit by it."""
    held = frozenset(established.values())
    lost = {seat: at for seat, at in watch.lost_at.items() if seat not in held}
    lost.update({seat: now for seat in watch.established.values() if seat not in held})
    return replace(
        watch, established=MappingProxyType(dict(established)), lost_at=MappingProxyType(lost)
    )


def _parse_circuit(line: str) -> tuple[str | None, IntroSeat | None]:
    """Read ``id status path KEY=value ...``.

    :returns: the circuit's id, and its seat if it is an established introduction circuit.
    """
    args, keywords = split_arguments(line)
    if len(args) < 2:  # noqa: PLR2004 - id and status
        return None, None
    circuit, status, *path = args
    service = keywords.get("REND_QUERY")
    if (
        status in {"CLOSED", "FAILED"}
        or keywords.get("PURPOSE") != "HS_SERVICE_INTRO"
        or keywords.get("HS_STATE") != "HSSI_ESTABLISHED"
        or service is None
        or not path
    ):
        return circuit, None
    relay = parse_relay(path[0].rpartition(",")[2])
    return circuit, None if relay is None else IntroSeat(service, relay)
