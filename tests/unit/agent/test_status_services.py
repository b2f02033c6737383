"""The status document on services: descriptors, HSDirs, and what is wrong with which of them."""

from __future__ import annotations

from dataclasses import replace

from rbcluster.agent.status import StatusInputs, status_document
from rbcluster.core.commands import (
    TakeOffice,
)
from rbcluster.core.ids import Term
from rbcluster.core.plan import plan
from rbcluster.core.state import ClusterState, Policy
from rbcluster.hs.consensus_view import Fingerprint
from tests.shared.builders import after
from tests.unit.agent.status_world import (
    ALL,
    EVE,
    HEALTHY,
    RINGS,
    SEED,
    founded,
    heard,
    hearing,
    problems,
    published,
    report,
    told_by,
)
from tests.unit.agent.world import ADA, BLOG, BOB, CYD, SITE


def hsdirs_told(inputs: StatusInputs, slot: int = 0) -> dict[str, set[str]]:
    """The HSDirs' states with their details."""
    (service,) = status_document(inputs)["services"]
    found: dict[str, set[str]] = {}
    for hsdir in service["descriptors"][slot]["hsdirs"]:
        found.setdefault(hsdir["state"], set()).add(hsdir["detail"])
    return found


def test_published_service_is_told_with_both_descriptors() -> None:
    (service,) = status_document(HEALTHY)["services"]
    assert (service["name"], service["address"]) == ("site", str(SITE))
    assert (service["pool"], service["published"]) == (4, True)
    first, second = service["descriptors"]
    assert (first["slot"], second["slot"]) == ("first", "second")
    assert abs(first["period"] - second["period"]) == 1
    for descriptor in (first, second):
        assert (descriptor["revision"], descriptor["intro_points"]) == (7, 4)
        assert descriptor["published_at"] == "2026-03-01T15:30:00+00:00"
        assert descriptor["next_refresh_at"] == "2026-03-01T16:30:00+00:00"
        assert descriptor["next"] == "it is up to date"
        assert len(descriptor["hsdirs"]) == 8
    assert hsdirs_told(HEALTHY) == {"accepted": {""}}


def test_service_that_was_never_published_waits_for_its_first_round() -> None:
    inputs = told_by(founded())
    (service,) = status_document(inputs)["services"]
    assert service["published"] is False
    for descriptor in service["descriptors"]:
        nothing = ("revision", "published_at", "next_refresh_at")
        assert [descriptor[key] for key in nothing] == [None] * 3  # type: ignore[literal-required]
        assert descriptor["next"].startswith("gathering changes")
    assert hsdirs_told(inputs) == {"pending": {""}}
    assert sum("8 of 8 HSDirs have not accepted" in p for p in problems(inputs)) == 2


def test_hsdir_that_refused_is_told_with_its_reason() -> None:
    bad = plan(founded(), RINGS)[0].hsdirs[0]
    state = published(founded(), ALL - {bad}, {bad: "UPLOAD_REJECTED"})
    assert hsdirs_told(told_by(state)) == {"accepted": {""}, "failed": {"UPLOAD_REJECTED"}}
    assert any("1 of 8 HSDirs have not accepted the first" in p for p in problems(told_by(state)))


def test_hsdir_is_pending_again_when_something_else_is_wanted_of_it() -> None:
    changed = after([report(BOB, 2, 12)], published(founded()))
    assert hsdirs_told(told_by(changed)) == {"pending": {"holds the descriptor before this one"}}
    assert status_document(told_by(changed))["services"][0]["published"] is False


def test_withdrawn_point_makes_the_next_round_due_at_once() -> None:
    gone = after([report(BOB)], published(founded()))
    (service,) = status_document(told_by(gone))["services"]
    assert all(d["next"].startswith("due: ") for d in service["descriptors"])


def test_hsdir_that_is_newly_responsible_is_pending_and_the_others_keep_what_they_hold() -> None:
    state = published(founded())
    wanted = plan(state, RINGS)[0]
    newcomer = Fingerprint(bytes([77]) * 20)
    changed = replace(wanted, hsdirs=(newcomer, *wanted.hsdirs[1:]))
    inputs = replace(told_by(state), wanted=(changed,))
    assert hsdirs_told(inputs) == {"accepted": {""}, "pending": {""}}


def test_without_a_consensus_nothing_is_said_to_be_published() -> None:
    (service,) = status_document(replace(HEALTHY, wanted=(), has_consensus=False))["services"]
    assert (service["published"], service["descriptors"]) == (False, [])


def test_a_cluster_toml_that_says_otherwise_is_a_problem() -> None:
    other = replace(SEED, policy=Policy(settle_ms=5))
    document = status_document(replace(HEALTHY, seed=other))
    assert document["health"] == "degraded"
    assert any("publish.settle is 0.005, the cluster has 1.0" in p for p in document["problems"])


def with_blog() -> ClusterState:
    """The site as ever, and a blog for which each node holds one point more."""
    seed = replace(SEED, services={SITE: "site", BLOG: "blog"})
    reports = (
        report(node, 10 * number + service_number, service=service)
        for number, node in enumerate((ADA, BOB, CYD, EVE), start=1)
        for service_number, service in enumerate((SITE, BLOG))
    )
    return after([seed, TakeOffice(node=ADA, term=Term(1)), *reports])


def told_of_both(state: ClusterState) -> StatusInputs:
    return replace(told_by(state), seed=replace(SEED, services={SITE: "site", BLOG: "blog"}))


def test_two_services_are_told_apart() -> None:
    document = status_document(told_of_both(published(with_blog())))
    assert (document["health"], document["problems"]) == ("healthy", [])
    told = [(s["name"], s["address"], s["pool"], s["published"]) for s in document["services"]]
    assert sorted(told) == [("blog", str(BLOG), 4, True), ("site", str(SITE), 4, True)]
    for service in document["services"]:
        slots = [descriptor["slot"] for descriptor in service["descriptors"]]
        shown = [descriptor["intro_points"] for descriptor in service["descriptors"]]
        assert (slots, shown) == (["first", "second"], [4, 4])
    assert [(n["intro_points"], n["on_show"]) for n in document["nodes"]] == [(2, 2)] * 4


def test_what_one_of_two_services_lacks_is_said_of_that_one() -> None:
    changed = after([report(BOB, service=BLOG)], published(with_blog()))
    document = status_document(told_of_both(changed))
    assert document["health"] == "degraded"
    assert {s["name"]: s["published"] for s in document["services"]} == {
        "site": True,
        "blog": False,
    }
    assert "bob has no introduction points for blog: see its tor's log" in document["problems"]
    assert sum("blog: 8 of 8 HSDirs have not" in problem for problem in document["problems"]) == 2
    assert not [problem for problem in document["problems"] if "site" in problem]


def test_what_tor_warns_of_is_told_by_every_node() -> None:
    record = heard()
    tor = record.heartbeat.tor.model_copy(update={"warnings": ("its descriptor can't be opened",)})
    ailing = replace(record, heartbeat=record.heartbeat.model_copy(update={"tor": tor}))
    problems = status_document(hearing(HEALTHY, BOB, ailing))["problems"]
    assert "bob: its descriptor can't be opened" in problems
