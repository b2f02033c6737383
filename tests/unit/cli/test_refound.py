from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rbcluster.cli.main import main
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import SeedCluster
from rbcluster.core.ids import ClusterId, NodeId
from rbcluster.core.membership import voters_of
from rbcluster.core.state import Member, Policy, Role
from rbcluster.errors import StorageError
from rbcluster.raft.configuration import encode_entry
from rbcluster.raft.messages import NO_OP
from tests.unit.cli.made import Made

A, B = NodeId("a"), NodeId("b")


@pytest.fixture(name="made")
def a_cluster_of_which_a_is_left(tmp_path: Path) -> Made:
    made = Made(tmp_path, "ab")
    storage = made.open()
    seed = SeedCluster(
        name="t",
        members=tuple(Member(node=node, address=f"{node}:1") for node in (A, B)),
        services={},
        policy=Policy(),
    )
    storage.journal.add(NO_OP, 1, 0)
    storage.journal.add(encode_entry({A: None, B: None}, encode_command(seed)), 2, 4)
    storage.journal.flush()
    storage.close()
    return made


def refound(made: Made, *options: str, answer: str = "") -> Result:
    arguments = ["refound", "--config", str(made.toml), "--node", "a", *options]
    return CliRunner().invoke(main, arguments, input=answer)


def test_what_the_node_knows_is_said_and_nothing_done_unless_that_is_confirmed(made: Made) -> None:
    result = refound(made, answer="n\n")
    assert result.exit_code == 1
    assert "a knows cluster t up to entry 2 of term 4; its members: a, b." in result.stdout
    assert made.kept == ["raft"]


def test_a_cluster_is_begun_and_the_next_steps_are_said(made: Made) -> None:
    result = refound(made, answer="y\n")
    assert result.exit_code == 0, result.output
    drawn = re.search(r"a alone is now cluster ([0-9a-f]{32})\.", result.stdout)
    assert drawn
    assert len(list((made.toml.parent / "a").glob("raft.set-aside-*"))) == 1
    with pytest.raises(StorageError, match=f"belongs to cluster {drawn[1]}, not to"):
        made.open()
    lines = f'[cluster]\nid = "{drawn[1]}"\nfounder = "a"'
    assert all(f"  {line}\n" in result.stdout for line in lines.splitlines()[1:])
    made.toml.write_text(made.toml.read_text().replace("[cluster]", lines))
    storage = made.open()
    storage.close()
    state = storage.snapshots.state
    assert state is not None
    assert state.cluster_id == ClusterId(bytes.fromhex(drawn[1]))
    assert voters_of(state.members) == {A: storage.owner.incarnation}
    assert state.members[B].role is Role.LEARNER


def test_a_node_that_runs_and_one_that_knows_nothing_are_refused(made: Made) -> None:
    storage = made.open()
    result = refound(made, "--yes")
    storage.close()
    assert "is in use by another process: stop that one" in result.stderr
    assert made.kept == ["raft"]
    assert made.reset("--yes", "--force").exit_code == 0
    assert "does not exist: there is nothing to begin from" in refound(made, "--yes").stderr
    made.open().close()
    result = refound(made, "--yes")
    assert result.exit_code == 1
    assert "no cluster can be begun from what a knows: it holds no cluster" in result.stderr
