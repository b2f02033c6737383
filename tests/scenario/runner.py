"""Plays a text script against apply, plan and decide, and writes down what they answer.

A script is its own golden output: lines that start with ``>`` are played, comments (``#``) and
empty lines are kept, all others are the answers. ``python -m tests.scenario.runner SCRIPT...``
writes the answers anew; then read the difference.

One service, "shop"; HSDirs are named by their place in the descriptor that is wanted. ``BY`` is
``by NODE@TERM``, ``SLOT`` is ``first`` or ``second``::

    > found NODE...                        found the cluster
    > clock SECONDS                        set the clock
    > consensus HOUR                       the network as of that hour (0 is midnight of day one)
    > office NODE TERM                     TakeOffice
    > points NODE RELAY...                 ReportIntroPoints (no relay: none left)
    > silent NODE BY | > back NODE BY      SetPresence
    > reserve SLOT REVISION BY             ReservePublication of what is wanted now
    > withdraw SLOT REVISION BY            the same, as a withdrawal
    > floor SLOT REVISION BY               RaiseFloor
    > record SLOT REVISION accepted all|N... refused N... BY    RecordRound
    > decide SLOT BY                       what that office holder must do
    > show                                 what is known of each descriptor
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rbcluster.core.apply import apply_bytes
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import (
    Applied,
    Command,
    RaiseFloor,
    RecordRound,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    SetPresence,
    TakeOffice,
)
from rbcluster.core.decide import Publish, decide
from rbcluster.core.ids import NodeId, Term, UnixMs
from rbcluster.core.plan import WantedDescriptor, derive_slot_rings, plan
from rbcluster.core.state import (
    ClusterState,
    Member,
    Policy,
    Presence,
    PublicationKey,
    Reservation,
)
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import RelayEd25519Id, SharedRandomValue
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import DescriptorSlot, HsTimes
from tests.shared.builders import SHOP, point

_MIDNIGHT = datetime(2024, 6, 1, tzinfo=UTC)
_RENEWAL_S = 3_600
_NUM_HSDIRS = 12


@dataclass(slots=True)
class Scenario:
    """The world of one script: replicated state, network, clock."""

    state: ClusterState = field(default_factory=ClusterState)
    clock_s: float = 0.0
    hour: int = 0
    differs_since: dict[PublicationKey, UnixMs] = field(default_factory=dict)

    def play(self, line: str) -> Iterator[str]:
        """Play one line; yield the lines of the answer."""
        verb, *words = line.split()
        if verb == "clock":
            self.clock_s = float(words[0])
        elif verb == "consensus":
            self.hour = int(words[0])
        elif verb == "decide":
            yield self._decide(words)
        elif verb == "show":
            yield from self._show()
        else:
            commands: dict[str, Callable[[list[str]], Command]] = {
                "found": self._found,
                "office": self._office,
                "points": self._points,
                "silent": lambda words: self._presence(Presence.WITHDRAWN, words),
                "back": lambda words: self._presence(Presence.LIVE, words),
                "reserve": lambda words: self._reserve(words, is_withdrawal=False),
                "withdraw": lambda words: self._reserve(words, is_withdrawal=True),
                "floor": self._floor,
                "record": self._record,
            }
            self.state, verdict = apply_bytes(self.state, encode_command(commands[verb](words)))
            yield "applied" if isinstance(verdict, Applied) else f"refused: {verdict.rule}"

    @property
    def now(self) -> UnixMs:
        """The clock, as commands carry it."""
        return UnixMs(int(1000 * self.clock_s))

    def _wanted(self, slot: str) -> WantedDescriptor:
        start = _MIDNIGHT + timedelta(hours=self.hour)
        days, _ = divmod(self.hour, 24)
        view = ConsensusView(
            valid_after=start,
            fresh_until=start + timedelta(hours=1),
            valid_until=start + timedelta(hours=3),
            times=HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1)),
            srv_current=SharedRandomValue(bytes([days + 1]) * 32),
            srv_previous=SharedRandomValue(bytes([days]) * 32),
            hsdirs=tuple(
                HsDir(Fingerprint(bytes([number]) * 20), RelayEd25519Id(bytes([number]) * 32))
                for number in range(_NUM_HSDIRS)
            ),
        )
        both = {
            wanted.slot_time.slot: wanted for wanted in plan(self.state, derive_slot_rings(view))
        }
        return both[DescriptorSlot(slot)]

    # --- commands

    def _found(self, words: list[str]) -> SeedCluster:
        members = tuple(Member(node=NodeId(name), address=f"{name}:1") for name in words)
        return SeedCluster(name="demo", members=members, services={SHOP: "shop"}, policy=Policy())

    def _office(self, words: list[str]) -> TakeOffice:
        return TakeOffice(node=NodeId(words[0]), term=Term(int(words[1])))

    def _points(self, words: list[str]) -> ReportIntroPoints:
        return ReportIntroPoints(
            node=NodeId(words[0]),
            service=SHOP,
            origin=SHOP,
            points=tuple(point(int(relay)) for relay in words[1:]),
            traits=ServiceTraits(),
            descriptor=b"",
            reported_at=self.now,
        )

    def _presence(self, presence: Presence, words: list[str]) -> SetPresence:
        node, term = _by(words)
        return SetPresence(
            node=NodeId(words[0]), presence=presence, office_node=node, office_term=term
        )

    def _reserve(self, words: list[str], *, is_withdrawal: bool) -> ReservePublication:
        wanted = self._wanted(words[0])
        node, term = _by(words)
        return ReservePublication(
            service=SHOP,
            period=wanted.slot_time.period,
            reservation=Reservation(
                slot=wanted.slot_time.slot,
                revision=RevisionCounter(int(words[1])),
                digest=wanted.digest,
                node=node,
                term=term,
                reserved_at=self.now,
                hsdirs=wanted.hsdirs,
                auth_keys=wanted.auth_keys,
            ),
            is_withdrawal=is_withdrawal,
        )

    def _floor(self, words: list[str]) -> RaiseFloor:
        node, term = _by(words)
        return RaiseFloor(
            service=SHOP,
            period=self._wanted(words[0]).slot_time.period,
            floor=RevisionCounter(int(words[1])),
            office_node=node,
            office_term=term,
            at=self.now,
        )

    def _record(self, words: list[str]) -> RecordRound:
        wanted = self._wanted(words[0])
        node, term = _by(words)
        split = words.index("refused")
        accepted, refused = words[3:split], words[split + 1 : words.index("by")]
        return RecordRound(
            service=SHOP,
            period=wanted.slot_time.period,
            revision=RevisionCounter(int(words[1])),
            accepted=frozenset(
                wanted.hsdirs
                if accepted == ["all"]
                else (wanted.hsdirs[int(place)] for place in accepted)
            ),
            refused={wanted.hsdirs[int(place)]: "no answer" for place in refused},
            finished_at=self.now,
            refresh_at=UnixMs(self.now + 1000 * _RENEWAL_S),
            office_node=node,
            office_term=term,
        )

    # --- questions

    def _decide(self, words: list[str]) -> str:
        wanted = self._wanted(words[0])
        publication = self.state.publications.get(wanted.key)
        last = publication.reservation if publication else None
        if last and last.digest == wanted.digest:
            self.differs_since.pop(wanted.key, None)
        else:
            self.differs_since.setdefault(wanted.key, self.now)
        decision = decide(
            wanted,
            publication,
            self.state.policy,
            term=_by(words)[1],
            differs_since=self.differs_since.get(wanted.key),
            now=self.now,
        )
        if isinstance(decision, Publish):
            what = "withdraw" if decision.is_withdrawal else "publish"
            floor = publication.floor if publication else 0
            return f"{what} above {floor}: {decision.reason.value}"
        when = "for a change" if decision.until is None else f"until {decision.until / 1000:g}"
        return f"wait {when}: {decision.why}"

    def _show(self) -> Iterator[str]:
        for known in self.state.publications.values():
            last = known.reservation
            reserved = (
                f"revision {last.revision} by {last.node}@{last.term} with {len(last.auth_keys)} "
                f"points, {len(known.accepted)} of {len(last.hsdirs)} HSDirs"
                if last
                else "nothing reserved"
            )
            yield f"period {known.period.number}: floor {known.floor}, {reserved}"


def _by(words: list[str]) -> tuple[NodeId, Term]:
    """Read ``by NODE@TERM`` at the end."""
    name, term = words[words.index("by") + 1].split("@")
    return NodeId(name), Term(int(term))


def transcribe(script: str) -> str:
    """Play a script; return it with the answers that came."""
    scenario, lines = Scenario(), []
    for line in script.splitlines():
        if line.startswith(">"):
            lines += [line, *(f"  {answer}" for answer in scenario.play(line.removeprefix(">")))]
        elif line.startswith("#") or not line:
            lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for script_path in map(Path, sys.argv[1:]):
        script_path.write_text(transcribe(script_path.read_text()))
