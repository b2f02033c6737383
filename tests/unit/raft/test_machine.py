from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.errors import SchemaError
from rbcluster.raft.machine import MachineState
from tests.shared.ledger import LEDGER, Ledger


def test_a_command_that_raises_is_a_logged_no_op(caplog: pytest.LogCaptureFixture) -> None:
    machine = MachineState(LEDGER)
    machine.apply(b"one")
    assert machine.apply(b"poison") is None
    assert machine.current == (b"one",)
    assert "the state machine raised" in caplog.text
    assert machine.apply(b"two") == 2


@pytest.mark.parametrize("error", [MemoryError(), SchemaError("schema 2")])
def test_what_only_this_node_runs_into_is_not_taken_for_a_no_op(error: Exception) -> None:
    def exhausted(_state: Ledger, _command: bytes) -> tuple[Ledger, int]:
        raise error

    machine = MachineState(replace(LEDGER, apply=exhausted))
    with pytest.raises(type(error)):
        machine.apply(b"one")
