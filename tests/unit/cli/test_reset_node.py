from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.made import Made


@pytest.fixture(name="made")
def three_nodes(tmp_path: Path) -> Made:
    return Made(tmp_path, "abc")


def spoil(made: Made) -> None:
    made.open().close()
    journal = made.place.directory / "journal"
    journal.write_bytes(journal.read_bytes()[:1000])


def test_refused_storage_is_set_aside_and_the_node_begins_a_new_life(made: Made) -> None:
    first = made.open()
    first.close()
    spoil(made)
    result = made.reset(answer="y\n")
    assert result.exit_code == 0, result.output
    said, question, told = result.stdout.splitlines()
    assert "journal is damaged (it is cut: 1000 bytes" in said
    assert question.startswith("Is a majority of the voters up without this node?")
    assert ".set-aside-" in told
    (aside,) = (made.toml.parent / "a").glob("raft.set-aside-*")
    assert (aside / "journal").stat().st_size == 1000
    second = made.open()
    second.close()
    assert second.owner.incarnation != first.owner.incarnation


def test_nothing_happens_unless_that_is_confirmed(made: Made) -> None:
    spoil(made)
    assert made.reset(answer="n\n").exit_code == 1
    assert made.kept == ["raft"]
    assert made.reset("--yes").exit_code == 0
    assert len(list((made.toml.parent / "a").glob("raft.set-aside-*"))) == 1


def test_sound_storage_is_left_alone_unless_forced(made: Made) -> None:
    made.open().close()
    result = made.reset("--yes")
    assert result.exit_code == 1
    assert "a/raft is sound, so a can start with it: --force sets it aside" in result.stderr
    assert made.place.directory.exists()
    assert made.reset("--yes", "--force").exit_code == 0
    assert not made.place.directory.exists()


def test_storage_that_the_daemon_uses_is_left_alone(made: Made) -> None:
    storage = made.open()
    result = made.reset("--yes", "--force")
    storage.close()
    assert result.exit_code == 1
    assert "is in use by another process: stop that one" in result.stderr
    assert made.kept == ["raft"]


def test_node_without_a_storage_needs_none(made: Made) -> None:
    result = made.reset()
    assert result.exit_code == 0
    assert "a/raft does not exist: a starts clean" in result.stdout


def test_only_voter_is_told_what_is_lost(tmp_path: Path) -> None:
    made = Made(tmp_path, "a")
    spoil(made)
    result = made.reset(answer="n\n")
    assert "a is the only voter: what the cluster agreed on is lost" in result.stdout
