"""Which HSDir to ask next for the descriptor of one of the node's own addresses, and when.

Tor publishes an instance's descriptors by itself, and tells by event which blinded key's goes to
which HSDir (UPLOAD) and that the HSDir took it (UPLOADED, without saying which). The HSDir that
answered first holds the newest; where tor has said nothing, as when the time period turns, those
that are responsible are asked in turn.

Not here: asking (`intro_fetch.py`), clocks (`now` is an argument).

::

    another blinded key is in force ----> ask the responsible HSDirs, now
    UPLOAD of it begins, UPLOADED ------> ask that HSDir, now
    found ------------------------------> ask once more soon, if it was an upload; else much later
    not found, silent, or an old one ---> ask the next one, after a pause that doubles
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import BlindedKey
from rbcluster.instants import Monotonic
from rbcluster.tor.hs_desc import HsDescAction, HsDescEvent

CONFIRM_AFTER_S = 5.0  # the first answer may be to the upload before: ask again when all have come
REFRESH_AFTER_S = 1800.0  # ours: a safety net; tor tells of what changes
PAUSE_S = 0.5  # after the first failure
MAX_PAUSE_S = 64.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """The descriptor that clients see now."""

    blinded: BlindedKey
    hsdirs: tuple[Fingerprint, ...]  # responsible for it, in ring order


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchWatch:
    """What is known of one address. A new one wants nothing."""

    aim: Aim | None = None  # None: the snapshot shows what clients see
    sending: frozenset[Fingerprint] = frozenset()  # HSDirs whom tor began to send it, unanswered
    is_newer_sent: bool = False  # it began to since an HSDir was last chosen for having it
    is_confirming: bool = False  # the next fetch only makes sure of the last
    next_hsdirs: tuple[Fingerprint, ...] = ()  # whom to ask, in turn
    due_at: Monotonic | None = None  # when; None: not before something happens
    num_failures: int = 0  # in a row

    def aimed_at(self, aim: Aim | None, now: Monotonic) -> FetchWatch:
        """Take in which descriptor is in force, by the newest consensus."""
        if aim is None or not aim.hsdirs:
            return FetchWatch()
        if self.aim is None or aim.blinded != self.aim.blinded:
            return FetchWatch(aim=aim, next_hsdirs=aim.hsdirs, due_at=now)
        return replace(self, aim=aim)

    def after_event(self, event: HsDescEvent, now: Monotonic) -> FetchWatch:
        """Take in an HS_DESC event of this address."""
        hsdir = event.hsdir
        if self.aim is None or hsdir is None:
            return self
        if event.action is HsDescAction.UPLOAD and event.blinded == self.aim.blinded:
            return replace(self, sending=self.sending | {hsdir}, is_newer_sent=True)
        if not event.may_answer_upload or hsdir not in self.sending:
            return self
        watch = replace(self, sending=self.sending - {hsdir})
        is_taken = event.action is HsDescAction.UPLOADED
        return watch.asking_first(hsdir, now) if is_taken else watch

    def asking_first(self, hsdir: Fingerprint, now: Monotonic) -> FetchWatch:
        """Ask an HSDir that holds a newer descriptor; of one upload only the first to answer."""
        if self.aim is None or not self.is_newer_sent:
            return self
        others = tuple(other for other in self.aim.hsdirs if other != hsdir)
        return replace(
            self,
            next_hsdirs=(hsdir, *others),
            due_at=now,
            is_newer_sent=False,
            is_confirming=False,
            num_failures=0,
        )

    def next_fetch(self, now: Monotonic) -> Fingerprint | None:
        """Say whom to ask now; None if nobody."""
        is_due = self.due_at is not None and now >= self.due_at
        return self.next_hsdirs[0] if is_due else None

    def fetching(self) -> FetchWatch:
        """Note that the first in turn is being asked: what comes meanwhile is news."""
        return replace(self, due_at=None)

    def after_fetch(self, hsdir: Fingerprint, *, found: bool, now: Monotonic) -> FetchWatch:
        """Take in whether a descriptor came that holds and is not older than the last.

        :param hsdir: who was asked.
        """
        if self.aim is None or self.due_at is not None:  # news came meanwhile, and goes before
            return self
        if found:
            after_s = REFRESH_AFTER_S if self.is_confirming else CONFIRM_AFTER_S
            return replace(
                self,
                due_at=Monotonic(now + after_s),
                is_confirming=not self.is_confirming,
                num_failures=0,
            )
        turn = (*(other for other in self.next_hsdirs if other != hsdir), hsdir)
        pause_s = min(PAUSE_S * 2**self.num_failures, MAX_PAUSE_S)
        return replace(
            self,
            next_hsdirs=turn,
            due_at=Monotonic(now + pause_s),
            num_failures=self.num_failures + 1,
        )
