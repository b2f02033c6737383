from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.hs.keys import BlindedKey
from rbcluster.instants import Monotonic
from rbcluster.tor.fetch_watcher import (
    CONFIRM_AFTER_S,
    MAX_PAUSE_S,
    PAUSE_S,
    REFRESH_AFTER_S,
    Aim,
    FetchWatch,
)
from rbcluster.tor.hs_desc import UPLOAD_REJECTED, HsDescAction, HsDescEvent
from tests.unit.tor.fake_control_port import ADDRESS, relay

_KEY, _OTHER_KEY = BlindedKey(bytes(32)), BlindedKey(bytes([1]) * 32)
_AIM = Aim(blinded=_KEY, hsdirs=(relay(1), relay(2), relay(3)))


def _event(
    action: HsDescAction, hsdir: int, *, key: BlindedKey | None = None, reason: str = ""
) -> HsDescEvent:
    return HsDescEvent(
        action=action, service=ADDRESS.label, hsdir=relay(hsdir), blinded=key, reason=reason
    )


def _upload(hsdir: int, key: BlindedKey = _KEY) -> HsDescEvent:
    return _event(HsDescAction.UPLOAD, hsdir, key=key)


def _uploaded(hsdir: int) -> HsDescEvent:
    return _event(HsDescAction.UPLOADED, hsdir)


def _fetched(watch: FetchWatch, now: float, *, found: bool = True) -> FetchWatch:
    hsdir = watch.next_fetch(Monotonic(now))
    assert hsdir is not None
    return watch.fetching().after_fetch(hsdir, found=found, now=Monotonic(now))


@pytest.fixture
def idle() -> FetchWatch:
    """A watch at time 100 that has found its descriptor, and made sure of it."""
    watch = FetchWatch().aimed_at(_AIM, Monotonic(100.0))
    watch = _fetched(_fetched(watch, 100.0), 100.0 + CONFIRM_AFTER_S)
    assert watch.next_fetch(Monotonic(200.0)) is None
    return watch


def _after(watch: FetchWatch, *events: HsDescEvent, now: float = 200.0) -> FetchWatch:
    for event in events:
        watch = watch.after_event(event, Monotonic(now))
    return watch


def test_nothing_is_fetched_while_the_snapshot_shows_what_clients_see() -> None:
    watch = _after(FetchWatch().aimed_at(None, Monotonic(0.0)), _upload(1), _uploaded(1))
    assert watch == FetchWatch()
    assert watch.next_fetch(Monotonic(1e9)) is None


def test_a_key_that_comes_in_force_is_asked_for_at_once_from_who_is_responsible() -> None:
    watch = FetchWatch().aimed_at(_AIM, Monotonic(100.0))
    assert watch.next_fetch(Monotonic(100.0)) == relay(1)


def test_what_was_found_is_made_sure_of_soon_and_then_left_alone_for_long() -> None:
    watch = _fetched(FetchWatch().aimed_at(_AIM, Monotonic(100.0)), 100.0)
    assert watch.due_at == 100.0 + CONFIRM_AFTER_S
    watch = _fetched(watch, 105.0)
    assert watch.due_at == 105.0 + REFRESH_AFTER_S
    assert _fetched(watch, 1905.0).due_at == 1905.0 + CONFIRM_AFTER_S


def test_an_hsdir_that_took_a_newer_one_is_asked_first_and_at_once(idle: FetchWatch) -> None:
    watch = _after(idle, _upload(1), _upload(2), _uploaded(2))
    assert watch.next_fetch(Monotonic(200.0)) == relay(2)
    assert watch.next_hsdirs == (relay(2), relay(1), relay(3))


def test_of_one_upload_only_the_first_answer_counts(idle: FetchWatch) -> None:
    watch = _after(idle, _upload(1), _upload(2), _upload(3), _uploaded(2))
    watch = _fetched(watch, 200.0)
    watch = _after(watch, _uploaded(1), _uploaded(3), now=200.2)
    assert watch.due_at == 200.0 + CONFIRM_AFTER_S
    watch = _after(watch, _upload(1), _uploaded(1), now=200.4)
    assert watch.next_fetch(Monotonic(200.4)) == relay(1)


@pytest.mark.parametrize(
    "events",
    [
        (_uploaded(1),),
        (_upload(1, _OTHER_KEY), _uploaded(1)),
        (_upload(1), _uploaded(2)),
        (_upload(1), _event(HsDescAction.FAILED, 1, reason=UPLOAD_REJECTED), _uploaded(1)),
        (_upload(1), _event(HsDescAction.FAILED, 1, reason="NOT_FOUND")),
        (_event(HsDescAction.CREATED, 1), _event(HsDescAction.UPLOAD, 1)),
        (replace(_upload(1), hsdir=None), replace(_uploaded(1), hsdir=None)),
    ],
)
def test_nothing_else_is_a_reason_to_fetch(
    idle: FetchWatch, events: tuple[HsDescEvent, ...]
) -> None:
    assert _after(idle, *events).next_fetch(Monotonic(200.0)) is None


def test_an_hsdir_without_it_is_asked_last_and_the_pause_doubles_up_to_a_minute() -> None:
    watch, now = FetchWatch().aimed_at(_AIM, Monotonic(0.0)), 0.0
    asked, pauses = [], []
    for _ in range(10):
        asked.append(watch.next_fetch(Monotonic(now)))
        watch = _fetched(watch, now, found=False)
        assert watch.due_at is not None
        pauses.append(watch.due_at - now)
        now = watch.due_at
    assert asked[:4] == [relay(1), relay(2), relay(3), relay(1)]
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert max(pauses) == MAX_PAUSE_S
    assert _fetched(watch, now).num_failures == 0


def test_while_one_is_asked_no_other_is_but_news_is_kept(idle: FetchWatch) -> None:
    watch = _after(idle, _upload(1), _uploaded(1)).fetching()
    assert watch.next_fetch(Monotonic(1e9)) is None
    watch = _after(watch, _upload(2), _uploaded(2), now=200.1)
    watch = watch.after_fetch(relay(1), found=True, now=Monotonic(200.2))
    assert watch.next_fetch(Monotonic(200.2)) == relay(2)


def test_another_consensus_of_the_same_period_changes_only_who_is_asked(idle: FetchWatch) -> None:
    watch = idle.aimed_at(Aim(blinded=_KEY, hsdirs=(relay(4),)), Monotonic(200.0))
    assert watch.next_fetch(Monotonic(200.0)) is None
    watch = _after(watch, _upload(4), _uploaded(4))
    assert watch.next_hsdirs == (relay(4),)


def test_another_period_begins_anew_and_an_answer_of_the_old_one_is_void(idle: FetchWatch) -> None:
    aim = Aim(blinded=_OTHER_KEY, hsdirs=(relay(7),))
    watch = _after(idle, _upload(1)).aimed_at(aim, Monotonic(200.0))
    assert watch == FetchWatch(aim=aim, next_hsdirs=(relay(7),), due_at=Monotonic(200.0))
    over = idle.aimed_at(None, Monotonic(200.0)).after_fetch(
        relay(1), found=True, now=Monotonic(201.0)
    )
    assert over == FetchWatch()


def test_without_a_responsible_hsdir_nobody_is_asked() -> None:
    watch = FetchWatch().aimed_at(Aim(blinded=_KEY, hsdirs=()), Monotonic(0.0))
    assert watch.next_fetch(Monotonic(0.0)) is None
    assert watch.due_at is None  # nobody waits for an instant that has passed
