"""The status page against golden pictures, and each of its words."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from rbcluster.agent.status_document import NodeStatus, ServiceStatus, StatusDocument
from rbcluster.cli.status_page import render_status
from tests.unit.cli.conftest import ADDRESS

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(name="draw")
def make_draw(now: datetime) -> Draw:
    return Draw(now)


class Draw:
    """Draws a page as a terminal would show it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self, document: StatusDocument, *, width: int = 80, colour: bool = False) -> str:
        file = io.StringIO()
        console = Console(
            file=file,
            width=width,
            force_terminal=colour,
            color_system="standard" if colour else None,
            _environ={},
        )
        console.print(render_status(document, self.now))
        return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


@pytest.mark.parametrize("name", ["healthy", "degraded", "no_leader"])
def test_the_page_is_the_golden_one(name: str, request: pytest.FixtureRequest, draw: Draw) -> None:
    page = draw(request.getfixturevalue(name))
    assert page == (GOLDEN / f"status_{name}.txt").read_text(encoding="utf-8")
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("healthy", "\x1b[1;30;42m HEALTHY \x1b"),
        ("degraded", "\x1b[1;30;43m DEGRADED \x1b"),
        ("no_leader", "\x1b[1;37;41m NO LEADER \x1b"),
    ],
)
def test_the_headline_has_the_colour_of_its_word(
    name: str, headline: str, request: pytest.FixtureRequest, draw: Draw
) -> None:
    assert headline in draw(request.getfixturevalue(name), colour=True)


def test_an_election_is_told_from_a_lost_quorum(no_leader: StatusDocument, draw: Draw) -> None:
    no_leader["cluster"]["has_quorum"] = True
    assert "NO LEADER   example: an election is under way" in draw(no_leader)


def test_several_nodes_gone_are_named_or_counted(
    degraded: StatusDocument, peer: NodeStatus, draw: Draw
) -> None:
    nodes = degraded["nodes"]
    nodes.append({**peer, "name": "d", "state": "unreachable"})
    assert "example: c and d are gone" in draw(degraded)
    nodes.append({**peer, "name": "e", "state": "unreachable"})
    assert "example: 3 are gone" in draw(degraded)


def test_degraded_for_another_reason_points_at_the_problems(
    healthy: StatusDocument, draw: Draw
) -> None:
    healthy["health"], healthy["problems"] = "degraded", ["the clock of b is off: set it by NTP"]
    assert "DEGRADED   example: see below" in draw(healthy)


def test_a_large_cluster_shows_whom_one_must_look_at(
    healthy: StatusDocument, peer: NodeStatus, draw: Draw
) -> None:
    healthy["nodes"] += [{**peer, "name": f"n{number}"} for number in range(97)]
    healthy["nodes"][50]["state"] = "unreachable"
    page = draw(healthy)
    assert [name for name in ("● a ", "★ b ", "✗ n47 ", "● c ", "● n1 ") if name in page] == [
        "● a ",
        "★ b ",
        "✗ n47 ",
    ]
    assert "and 97 more, all well" in page


def test_a_node_that_is_not_linked_is_shown_as_no_fault(
    healthy: StatusDocument, draw: Draw
) -> None:
    healthy["nodes"][2] |= {"state": "unlinked", "last_contact_seconds": None, "can_publish": None}
    (line,) = (line for line in draw(healthy).splitlines() if "○ c " in line)
    assert "unlinked" in line
    assert "not linked" in line
    assert "HEALTHY" in draw(healthy)


def test_a_drained_node_is_marked_and_always_has_a_line(
    healthy: StatusDocument, peer: NodeStatus, draw: Draw
) -> None:
    healthy["nodes"] += [{**peer, "name": f"n{number}"} for number in range(97)]
    healthy["nodes"][50] = {**peer, "name": "n47", "drained": True, "on_show": 0}
    assert [line.split()[:5] for line in draw(healthy).splitlines() if "n47" in line] == [
        ["●", "n47", "follower,", "drained", "0"]
    ]


def test_a_maintenance_says_when_it_ends(healthy: StatusDocument, draw: Draw) -> None:
    assert "maintenance" not in draw(healthy)
    healthy["cluster"]["maintenance_until"] = "2026-02-06T14:42:00+00:00"
    assert "maintenance: silent nodes stay on show; ends by itself, in 12 min\n" in draw(healthy)


def test_many_hsdirs_are_counted_rather_than_drawn(healthy: StatusDocument, draw: Draw) -> None:
    (service,) = healthy["services"]
    service["descriptors"][0]["hsdirs"] *= 4
    page = draw(healthy)
    assert "32/32" in page
    assert "●" * 9 not in page


def with_blog(document: StatusDocument) -> ServiceStatus:
    """Add a second service, not published anywhere yet, and return it."""
    (web,) = document["services"]
    blog: ServiceStatus = {**web, "name": "blog", "address": f"{'b' * 56}.onion"}
    blog["published"], blog["pool"], blog["descriptors"] = False, 0, []
    document["services"].append(blog)
    document["health"] = "degraded"
    return blog


def test_each_of_two_services_has_a_part_of_the_page(healthy: StatusDocument, draw: Draw) -> None:
    with_blog(healthy)
    page = draw(healthy)
    assert "DEGRADED   example: blog not fully published" in page
    web, blog = page.index("\n web  published"), page.index("\n blog  not fully published")
    assert web < page.index(f"\n {ADDRESS}\n") < blog < page.index(f"\n {'b' * 56}.onion\n")
    assert page[web:blog].count("8/8") == 2
    assert page[blog:].count("8/8") == 0


def test_both_services_are_named_when_neither_is_published(
    healthy: StatusDocument, draw: Draw
) -> None:
    with_blog(healthy)
    healthy["services"][0]["published"] = False
    assert "example: web and blog not fully published" in draw(healthy)


def test_a_refresh_that_is_late_is_due(healthy: StatusDocument, draw: Draw) -> None:
    (service,) = healthy["services"]
    service["descriptors"][0]["next_refresh_at"] = "2026-02-06T14:29:59+00:00"
    assert "due" in draw(healthy)


def test_a_publication_of_a_clock_ahead_has_age_zero(healthy: StatusDocument, draw: Draw) -> None:
    (service,) = healthy["services"]
    service["descriptors"][0]["published_at"] = "2026-02-06T14:30:05+00:00"
    assert " 0 s  " in draw(healthy)


def test_a_node_without_a_reason_still_says_no(healthy: StatusDocument, draw: Draw) -> None:
    healthy["nodes"][2]["can_publish"] = False
    assert draw(healthy).count("no\n") == 1


def test_what_peers_say_cannot_steer_the_terminal(degraded: StatusDocument, draw: Draw) -> None:
    degraded["nodes"][0]["faults"] = ["\x1b]0;owned\x07[bold]x[/bold]"]
    page = draw(degraded)
    assert "\x1b" not in page
    assert "no: ?]0;owned?[bold]x" in page


def test_a_cluster_that_has_just_been_founded_can_be_drawn(
    healthy: StatusDocument, draw: Draw
) -> None:
    healthy["nodes"], healthy["services"] = [], []
    assert "HEALTHY" in draw(healthy)
