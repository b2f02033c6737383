from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rbcluster.core.decide import Publish, Reason, Wait, decide
from rbcluster.core.ids import Term, UnixMs
from rbcluster.core.plan import PlacedPoint, WantedDescriptor
from rbcluster.core.state import Policy, Publication, Reservation, UploadBudget
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.hashring import SlotTime
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import SharedRandomValue
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import DescriptorSlot
from tests.shared.builders import ADA, BOB, HSDIRS, NOW, SHOP, period, point

POLICY = Policy(upload_burst=5, upload_every_ms=10_000, settle_ms=1_000)
TERM = Term(3)
REFRESH_AT = UnixMs(NOW + 3_600_000)
FULL = UploadBudget(millitokens=5_000, updated_at=NOW)


def want(
    *points: IntroPoint,
    hsdirs: tuple[Fingerprint, ...] = HSDIRS[:3],
    traits: ServiceTraits | None = None,
) -> WantedDescriptor:
    wanted = WantedDescriptor(
        service=SHOP,
        slot_time=SlotTime(
            slot=DescriptorSlot.FIRST,
            period=period(),
            srv=SharedRandomValue(bytes(32)),
            srv_run_start=datetime(2024, 6, 1, tzinfo=UTC),
        ),
        hsdirs=hsdirs,
        points=tuple(PlacedPoint(node=ADA, point=each) for each in points),
        traits=traits or ServiceTraits(),
        digest=b"",
    )
    return replace(wanted, digest=wanted.digest_for(hsdirs))


WANTED = want(point(1), point(2))


def publish(wanted: WantedDescriptor = WANTED, *, term: Term = TERM) -> Publication:
    """A descriptor that was reserved at revision 7 and accepted everywhere."""
    return Publication(
        period=period(),
        floor=RevisionCounter(7),
        budget=FULL,
        reservation=Reservation(
            slot=DescriptorSlot.FIRST,
            revision=RevisionCounter(7),
            digest=wanted.digest,
            node=ADA if term == TERM else BOB,
            term=term,
            reserved_at=NOW,
            hsdirs=wanted.hsdirs,
            auth_keys=wanted.auth_keys,
        ),
        accepted=frozenset(wanted.hsdirs),
        finished_at=NOW,
        refresh_at=REFRESH_AT,
    )


PUBLISHED = publish()


def decided(
    wanted: WantedDescriptor = WANTED,
    publication: Publication | None = PUBLISHED,
    *,
    at: int = NOW,
    differs_since: int | None = None,
    is_carried: bool = True,
) -> Publish | Wait:
    return decide(
        wanted,
        publication,
        POLICY,
        term=TERM,
        differs_since=None if differs_since is None else UnixMs(differs_since),
        now=UnixMs(at),
        is_carried=is_carried,
    )


def go(reason: Reason) -> Publish:
    return Publish(
        reason=reason,
        is_withdrawal=reason in {Reason.POINTS_WITHDRAWN, Reason.UNFINISHED},
    )


SETTLED = NOW - 1_000  # when a change was first seen that has settled by now


# --- nothing to do


def test_a_descriptor_that_is_up_to_date_waits_for_its_renewal() -> None:
    assert decided() == Wait(until=REFRESH_AT, why="it is up to date")


def test_a_clock_set_back_makes_a_descriptor_due_at_once() -> None:
    assert decided(at=NOW - 60_000) == Wait(until=REFRESH_AT, why="it is up to date")
    assert decided(at=NOW - 60_001) == go(Reason.DUE)


def test_a_clock_set_back_does_not_prolong_the_gathering_of_changes() -> None:
    more = want(point(1), point(2), point(3))
    assert decided(more, at=NOW, differs_since=NOW + 1) == go(Reason.POINTS_CHANGED)


def test_an_empty_descriptor_is_never_published() -> None:
    for publication in (None, PUBLISHED):
        assert decided(want(), publication, differs_since=SETTLED) == Wait(
            until=None, why="no live node holds an introduction point"
        )


def test_nothing_is_published_where_no_hsdir_is_known() -> None:
    wanted = want(point(1), hsdirs=())
    assert decided(wanted) == Wait(until=None, why="the consensus names no HSDir")


def test_a_round_of_this_very_term_goes_on() -> None:
    running = replace(PUBLISHED, accepted=frozenset(), finished_at=None, refresh_at=None)
    assert decided(WANTED, running) == Wait(
        until=None, why="its round is under way: 0 of 3 HSDirs hold it"
    )
    almost = replace(PUBLISHED, accepted=frozenset(HSDIRS[1:]))
    assert decided(WANTED, almost) == Wait(
        until=REFRESH_AT, why="its round is under way: 2 of 3 HSDirs hold it"
    )


# --- each reason


@pytest.mark.parametrize(
    "publication",
    [None, Publication(period=period(), floor=RevisionCounter(99), budget=FULL)],
)
def test_what_was_never_published_is_published(publication: Publication | None) -> None:
    expected = go(Reason.NEVER_PUBLISHED)
    assert decided(WANTED, publication, differs_since=SETTLED) == expected


def test_a_point_that_is_gone_is_withdrawn_at_once() -> None:
    for remaining in (want(point(1)), want(point(1), point(3))):
        assert decided(remaining, differs_since=NOW) == go(Reason.POINTS_WITHDRAWN)


def test_a_floor_raised_since_the_reservation_asks_for_a_new_round() -> None:
    raised = replace(PUBLISHED, floor=RevisionCounter(50))
    assert decided(WANTED, raised) == go(Reason.OVERTAKEN)


def test_a_round_that_an_earlier_leader_did_not_finish_is_finished() -> None:
    cut_short = replace(publish(term=Term(2)), accepted=frozenset(HSDIRS[:2]))
    assert decided(WANTED, cut_short) == go(Reason.UNFINISHED)


def test_a_round_that_an_earlier_leader_finished_is_left_alone() -> None:
    assert isinstance(decided(WANTED, publish(term=Term(2))), Wait)


def test_a_round_of_this_term_that_nobody_carries_is_done_again() -> None:
    broken_off = replace(PUBLISHED, accepted=frozenset(HSDIRS[:2]))
    assert decided(WANTED, broken_off, is_carried=False) == go(Reason.UNFINISHED)
    assert isinstance(decided(WANTED, PUBLISHED, is_carried=False), Wait)


def test_an_hsdir_that_is_asked_no_more_need_not_have_accepted() -> None:
    cut_short = replace(publish(term=Term(2)), accepted=frozenset(HSDIRS[:2]))
    assert isinstance(decided(want(point(1), point(2), hsdirs=HSDIRS[:2]), cut_short), Wait)


def test_a_new_hsdir_gets_the_descriptor_at_once() -> None:
    moved = want(point(1), point(2), hsdirs=HSDIRS[1:4])
    assert decided(moved, differs_since=NOW) == go(Reason.HSDIRS_CHANGED)


@pytest.mark.parametrize("hsdirs", [HSDIRS[:2], HSDIRS[2::-1]])
def test_hsdirs_that_left_or_changed_places_are_no_reason(
    hsdirs: tuple[Fingerprint, ...],
) -> None:
    wanted = want(point(1), point(2), hsdirs=hsdirs)
    assert decided(wanted, differs_since=SETTLED) == Wait(until=REFRESH_AT, why="it is up to date")


@pytest.mark.parametrize(
    "changed",
    [
        want(point(1), point(2), point(3)),
        want(point(2), point(1)),
        want(point(1), replace(point(2), enc_key=point(3).enc_key)),
        want(point(1), point(2), traits=ServiceTraits(flow_control=("1-2", 31))),
        want(point(1), point(2), point(3), hsdirs=HSDIRS[:2]),
    ],
    ids=["point added", "other order", "other key", "other traits", "added, and an HSDir left"],
)
def test_changed_content_is_published_once_it_has_settled(changed: WantedDescriptor) -> None:
    assert decided(changed, differs_since=SETTLED) == go(Reason.POINTS_CHANGED)


@pytest.mark.parametrize(("offset", "is_due"), [(-1, False), (0, True), (1, True)])
def test_a_descriptor_is_renewed_when_its_time_has_come(offset: int, *, is_due: bool) -> None:
    decision = decided(at=REFRESH_AT + offset)
    assert (decision == go(Reason.DUE)) == is_due


# --- settling


@pytest.mark.parametrize("publication", [None, PUBLISHED])
def test_additions_are_gathered_for_a_moment(publication: Publication | None) -> None:
    wanted = want(point(1), point(2), point(3))
    for since in (None, NOW):
        waiting = decided(wanted, publication, differs_since=since)
        assert isinstance(waiting, Wait)
        assert waiting.until == NOW + 1_000
        assert waiting.why.startswith("gathering changes: ")
    last_moment = decided(wanted, publication, differs_since=NOW, at=NOW + 999)
    assert isinstance(last_moment, Wait)
    assert isinstance(decided(wanted, publication, differs_since=NOW, at=NOW + 1_000), Publish)


# --- which reason speaks


def test_of_several_reasons_the_most_urgent_speaks() -> None:
    everything = replace(
        publish(term=Term(2)), accepted=frozenset(), floor=RevisionCounter(8), refresh_at=NOW
    )
    moved = HSDIRS[1:4]
    steps = [
        (want(point(1), hsdirs=moved), everything, Reason.POINTS_WITHDRAWN),
        (want(point(1), point(2), hsdirs=moved), everything, Reason.OVERTAKEN),
        (
            want(point(1), point(2), hsdirs=moved),
            replace(everything, floor=RevisionCounter(7)),
            Reason.UNFINISHED,
        ),
        (
            want(point(1), point(2), point(3), hsdirs=moved),
            replace(PUBLISHED, refresh_at=NOW),
            Reason.HSDIRS_CHANGED,
        ),
        (
            want(point(1), point(2), point(3)),
            replace(PUBLISHED, refresh_at=NOW),
            Reason.POINTS_CHANGED,
        ),
    ]
    for wanted, publication, reason in steps:
        decision = decided(wanted, publication, differs_since=SETTLED)
        assert isinstance(decision, Publish)
        assert decision.reason is reason


# --- budget


def test_the_budget_holds_back_all_but_withdrawals() -> None:
    two_left = replace(PUBLISHED, budget=UploadBudget(millitokens=2_000, updated_at=NOW))
    waiting = decided(want(point(1), point(2), point(3)), two_left, differs_since=SETTLED)
    assert waiting == Wait(
        until=UnixMs(NOW + 10_000), why="the upload budget is spent: its content has changed"
    )
    assert decided(want(point(1)), two_left) == go(Reason.POINTS_WITHDRAWN)


def test_even_a_withdrawal_waits_for_a_token() -> None:
    none_left = replace(PUBLISHED, budget=UploadBudget(millitokens=0, updated_at=NOW))
    waiting = decided(want(point(1)), none_left)
    assert isinstance(waiting, Wait)
    assert waiting.until == NOW + 10_000
    assert decided(want(point(1)), none_left, at=NOW + 10_000) == go(Reason.POINTS_WITHDRAWN)
