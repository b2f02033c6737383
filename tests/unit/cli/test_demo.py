"""`rbcluster demo`: its table, its JSON, its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.cli.main import main
from tests.unit.lab.demo_model import Course, Model

QUICK = Course(elected_s=0.05, withdrawn_s=0.1, returned_s=0.1, visit_s=0.001)


def run(model: Model, *options: str) -> Result:
    return CliRunner().invoke(main, ["demo", *options], obj=model.lab, env={"COLUMNS": "200"})


def test_the_end_is_a_table_and_the_same_figures_as_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    result = run(Model(QUICK, tmp_path), "--json", str(file))
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    assert set(figures) == {
        "nodes",
        "requests_ok",
        "requests_failed",
        "answered_by",
        "election_seconds",
        "withdrawn_seconds",
        "longest_pause_seconds",
        "rejoined_seconds",
    }
    _, _, table = result.stdout.partition("What a visitor saw")
    shares = ", ".join(f"{node} {number}" for node, number in figures["answered_by"].items())
    for label, value in (
        ("nodes", str(figures["nodes"])),
        ("requests answered", str(figures["requests_ok"])),
        ("requests failed", str(figures["requests_failed"])),
        ("answered by", shares),
        ("new leader after the kill", f"{figures['election_seconds']:.2f} s"),
        ("all HSDirs accepted its removal", f"{figures['withdrawn_seconds']:.1f} s"),
        ("longest pause for the visitor", f"{figures['longest_pause_seconds']:.1f} s"),
        ("dead node back on show", f"{figures['rejoined_seconds']:.1f} s"),
    ):
        (line,) = (line for line in table.splitlines() if label in line)
        assert line.strip(" │").endswith(value)


def test_demo_that_fails_says_why_shows_no_figures_and_exits_with_1(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ghost = Course(answers_without=("b",), elected_s=0.05, withdrawn_s=0.1, visit_s=0.001)
    result = run(Model(ghost, tmp_path), "--json", str(file))
    assert result.exit_code == 1
    assert result.stderr == "rbcluster: the dead node b answered 60 times\n"
    assert "What a visitor saw" not in result.stdout
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone/figures.json", "No such file or directory"),
        ("plain/figures.json", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_json_that_can_not_be_written_is_refused_before_the_run(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "plain").touch()
    model = Model(QUICK, tmp_path)
    result = run(model, "--json", str(tmp_path / name))
    assert result.exit_code == 1
    assert result.stderr == (
        f"rbcluster: --json {tmp_path / name} can't be written ({reason}): "
        "name a file in a folder of yours\n"
    )
    assert model.killed_at is None
    assert result.stdout.strip() == ""


def test_json_that_fails_after_all_is_one_sentence(tmp_path: Path) -> None:
    result = run(Model(QUICK, tmp_path), "--json", "/dev/full")
    assert result.exit_code == 1
    assert "What a visitor saw" in result.stdout
    assert "can't be written (No space left on device)" in result.stderr


def test_figures_of_an_earlier_run_stay_until_there_are_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text("earlier")
    silent = Course(answers_before=("a",))
    assert run(Model(silent, tmp_path), "--json", str(file)).exit_code == 1
    assert file.read_text() == "earlier"
