"""One whole time period of the private network, seen by two visitors who ask every second.

Within it the shared random value changes, at which every tor exchanges its introduction points, and
the time period turns, at which clients change from one descriptor to the other.

It plays beside the other tests, on a cluster of its own (`period_watch` in conftest.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from rbcluster.hs.keys import BlindedKey
from rbcluster.lab.visitor import Visit
from tests.e2e.chronicle import Chronicle

_MAX_SECONDS = 20.0
_MAX_DISTURBED = 0.25  # of all requests; an HSDir that does not answer is asked again after 30 s
_NUM_CHANGES = 2  # the rotation and the turn: what was in flight may hang until it is given up

pytestmark = pytest.mark.timeout(600)  # whichever is the first waits for the end of the period


def test_a_period_has_a_rotation_and_a_turn(
    chronicle: Chronicle, record_property: Callable[[str, object], None]
) -> None:
    for name, visits in (("refetching", chronicle.refetching), ("keeping", chronicle.keeping)):
        figures = chronicle.figures(visits)
        record_property(name, figures)
        print(f"{name}: {figures}")  # noqa: T201 - `pytest -rP` shows it
    spans = ", ".join(f"{end - start:.1f}" for start, end in chronicle.disturbances)
    print(f"re-publications took {spans} s")  # noqa: T201

    assert chronicle.has_both_changes
    assert chronicle.disturbances


@pytest.mark.parametrize("who", ["refetching", "keeping"])
def test_no_request_after_the_republication_is_lost(chronicle: Chronicle, who: str) -> None:
    visits: list[Visit] = getattr(chronicle, who)
    undisturbed = [visit for visit in visits if not chronicle.is_disturbed(visit)]

    assert len(undisturbed) >= (1 - _MAX_DISTURBED) * len(visits)
    assert [visit for visit in undisturbed if not visit.ok] == []


def test_no_request_with_a_descriptor_fetched_after_the_republication_is_slow(
    chronicle: Chronicle,
) -> None:
    undisturbed = [visit for visit in chronicle.refetching if not chronicle.is_disturbed(visit)]

    assert max(visit.seconds for visit in undisturbed) < _MAX_SECONDS


def test_an_old_descriptor_costs_a_visitor_at_most_one_request_at_each_change(
    chronicle: Chronicle,
) -> None:
    """All points of a shared identity end at a rotation; who still has them may wait for long."""
    spoilt = [v for v in chronicle.keeping if not v.ok or v.seconds >= _MAX_SECONDS]

    assert len(spoilt) <= _NUM_CHANGES, [(visit.seconds, visit.error) for visit in spoilt]


def test_both_descriptors_of_every_slot_and_period_reach_every_hsdir(chronicle: Chronicle) -> None:
    wanted, held = set(), set()
    for moment in chronicle.moments:
        for descriptor in moment.descriptors:
            key = descriptor["slot"], descriptor["period"]
            wanted.add(key)
            if {hsdir["state"] for hsdir in descriptor["hsdirs"]} == {"accepted"}:
                held.add(key)

    assert {slot for slot, _ in wanted} == {"first", "second"}
    assert held == wanted


def test_every_revision_is_above_the_one_before(chronicle: Chronicle) -> None:
    said: defaultdict[int, list[int]] = defaultdict(list)
    for moment in chronicle.moments:
        for descriptor in moment.descriptors:
            if descriptor["revision"] is not None:
                said[descriptor["period"]].append(descriptor["revision"])
    given_out: defaultdict[BlindedKey, list[int]] = defaultdict(list)
    for visit, key, revision in chronicle.used:
        if not chronicle.is_disturbed(visit):  # else HSDirs differ, and any of them is asked
            given_out[key].append(revision)

    for revisions in (*said.values(), *given_out.values()):
        assert revisions == sorted(revisions)
    assert any(len(set(revisions)) > 1 for revisions in said.values())


def test_nodes_and_their_tors_have_nothing_to_complain_of(chronicle: Chronicle) -> None:
    assert chronicle.findings == []  # `Could not get valid INTRO2 keys` would be among them
