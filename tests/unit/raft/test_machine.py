from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.raft.machine import MachineState
from tests.cluster.ledger import LEDGER, Ledger


def test_a_command_that_raises_is_a_logged_no_op(caplog: pytest.LogCaptureFixture) -> None:
    machine = MachineState(LEDGER)
    machine.apply(b"one")
    assert machine.apply(b"poison") is None
    assert machine.current == (b"one",)
    assert "the state machine raised" in caplog.text
    assert machine.apply(b"two") == 2


def test_running_out_of_memory_is_not_taken_for_a_no_op() -> None:
    def exhausted(_state: Ledger, _command: bytes) -> tuple[Ledger, int]:
        raise MemoryError

    machine = MachineState(replace(LEDGER, apply=exhausted))
    with pytest.raises(MemoryError):
        machine.apply(b"one")
