"""The demo's play: its figures, and each thing that did not happen makes it fail."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from rbcluster.lab.demo import DemoFailed, DemoFigures, run_demo
from tests.shared.virtual_time import run_virtually
from tests.unit.lab.demo_model import HSDIRS, NEVER, NODES, POINTS, Course, Model


class Script:
    """Keeps what the demo told."""

    def __init__(self) -> None:
        self.achieved: list[str] = []

    def begin(self, what: str) -> None:
        assert what

    def progress(self, detail: str) -> None:
        assert detail

    def done(self, what: str) -> None:
        self.achieved.append(what)


def play(course: Course, place: Path, script: Script | None = None) -> tuple[DemoFigures, Model]:
    model = Model(course, place)
    try:
        return run_virtually(run_demo(script or Script(), NODES, model.lab)), model
    finally:
        assert model.running == []


def test_every_figure_is_what_happened(tmp_path: Path) -> None:
    figures, _ = play(Course(), tmp_path)
    assert set(asdict(figures)) == {
        "nodes",
        "requests_ok",
        "requests_failed",
        "answered_by",
        "election_seconds",
        "withdrawn_seconds",
        "longest_pause_seconds",
        "rejoined_seconds",
    }
    assert figures.nodes == 3
    assert figures.requests_failed == 0
    assert figures.requests_ok == sum(figures.answered_by.values()) > 180
    assert set(figures.answered_by) == set(NODES)
    assert figures.election_seconds == pytest.approx(0.8, abs=0.11)  # looks every 0.1 s
    assert figures.withdrawn_seconds == pytest.approx(3.0, abs=0.11)
    assert figures.rejoined_seconds == pytest.approx(5.0, abs=0.11)
    assert figures.longest_pause_seconds == pytest.approx(0.01)


def test_every_step_is_told(tmp_path: Path) -> None:
    script = Script()
    play(Course(), tmp_path, script)
    told = "\n".join(script.achieved)
    for step in (
        "a private Tor network of",
        "is served by 3 nodes; b leads",
        "60 of 60 visits answered: a 20, b 20, c 20",
        r"a leads, 0\.[89]. s after the kill",
        r"every HSDir accepted descriptors without b, 3\.[01] s after the kill",
        "none of the 8 HSDirs that clients ask now lists b any more",
        r"60 of 60 visits answered \(without b\): a 30, c 30",
        r"b is back in the descriptor after 5\.[01] s",
    ):
        assert re.search(step, told)


def test_descriptor_is_fetched_anew_for_each_few_visits(tmp_path: Path) -> None:
    _, model = play(Course(), tmp_path)
    assert model.refetches == 3 * 60 / 4


def test_one_failure_in_a_hundred_visits_is_borne_and_counted(tmp_path: Path) -> None:
    figures, _ = play(Course(fails=lambda number: number == 60), tmp_path)
    assert figures.requests_failed == 1


@pytest.mark.parametrize(
    ("course", "why"),
    [
        (Course(is_ever_served=False), "a merged descriptor did not come about"),
        (Course(is_led=False), "the cluster has no leader"),
        (Course(answers_before=("a", "c")), r"only \['a', 'c'\] answered before the kill"),
        (Course(points={**POINTS, "b": frozenset()}), "tor of b holds no introduction points"),
        (Course(visit_s=50), "further visits did not come about"),
        (Course(elected_s=NEVER), "a new leader did not come about within 30 s: b is silent"),
        (Course(withdrawn_s=NEVER), "descriptors without b did not come about"),
        (Course(stale_hsdirs=HSDIRS[7:]), "1 of 8 HSDirs still list points of b"),
        (Course(hsdirs=()), "no HSDir is responsible"),
        (Course(answers_without=NODES), "the dead node b answered 20 times"),
        (Course(returned_s=NEVER), "the return of b did not come about"),
        (Course(answers_after=("a", "c")), "b is in the descriptor but answered none of the"),
        (Course(fails=lambda number: number in {60, 61}), "2 of 120 visits failed: no way there"),
    ],
)
def test_what_did_not_happen_fails_the_demo(course: Course, why: str, tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=why):
        play(course, tmp_path)
