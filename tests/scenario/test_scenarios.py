"""Every script beside this file must be answered as it says; `runner.py` explains their form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.runner import transcribe

SCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_answered_as_it_says(script: Path) -> None:
    golden = script.read_text()
    assert transcribe(golden) == golden


def test_the_runner_writes_what_came_and_not_what_the_script_claims() -> None:
    assert (
        transcribe("# a lie\n> found ada\n  refused: no\n") == "# a lie\n> found ada\n  applied\n"
    )


def test_there_are_scripts() -> None:
    assert SCRIPTS
