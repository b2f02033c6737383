"""What must hold of `apply` for any log, whoever proposed its commands and in whatever order."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from rbcluster.core.apply import MAX_REVISION_STEP, apply, apply_bytes
from rbcluster.core.codec import decode_state, encode_command, encode_state, state_digest
from rbcluster.core.commands import Applied, Command, Refused, ReservePublication
from rbcluster.core.ids import NodeId, Term
from rbcluster.core.state import SCHEMA_VERSION, ClusterState, PublicationKey
from rbcluster.core.wire import from_bytes
from rbcluster.errors import SchemaError
from tests.shared.builders import IN_OFFICE, folded, logs


@given(logs())
def test_one_log_gives_one_state_on_all_replicas(log: list[Command]) -> None:
    data = [encode_command(command) for command in log]
    replicas = [ClusterState(), ClusterState()]
    for command in data:
        steps = [apply_bytes(replica, command) for replica in replicas]
        assert steps[0][1] == steps[1][1]
        replicas = [state for state, _ in steps]
        assert state_digest(replicas[0]) == state_digest(replicas[1])
    assert replicas[0] == folded(log)


@given(logs(), st.data())
def test_a_snapshot_and_the_tail_give_the_state_of_the_whole_log(
    log: list[Command], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    restored = decode_state(encode_state(folded(log[:cut])))
    assert encode_state(folded(log[cut:], restored)) == encode_state(folded(log))


@given(logs())
def test_revisions_and_floors_only_rise(log: list[Command]) -> None:
    state = ClusterState()
    highest: dict[PublicationKey, int] = {}  # kept though the state forgets old periods
    for command in log:
        before, (state, verdict) = state, apply(state, command)
        if isinstance(command, ReservePublication) and verdict == Applied():
            key = command.service, command.period.number
            revision = command.reservation.revision
            last = highest.get(key, 0)
            assert last < revision <= last + MAX_REVISION_STEP
            assert state.publications[key].floor == revision
        for key, known in state.publications.items():
            assert known.floor >= highest.get(key, 0)
            assert known.reservation is None or known.reservation.revision <= known.floor
            highest[key] = known.floor
        assert verdict == Applied() or state is before


@given(logs())
def test_two_nodes_never_reserve_in_one_term(log: list[Command]) -> None:
    state = ClusterState()
    reserved_by: dict[Term, NodeId] = {}
    last_term = Term(0)
    for command in log:
        state, verdict = apply(state, command)
        if isinstance(command, ReservePublication) and verdict == Applied():
            reservation = command.reservation
            assert reserved_by.setdefault(reservation.term, reservation.node) == reservation.node
            assert reservation.term >= last_term
            last_term = reservation.term


@given(st.binary(max_size=300))
@example(b"\x91\x02")
def test_arbitrary_bytes_are_refused_alike_unless_a_newer_release_wrote_them(data: bytes) -> None:
    try:
        state, verdict = apply_bytes(IN_OFFICE, data)
    except SchemaError:
        match from_bytes(data):
            case [int(version), *_]:
                assert version > SCHEMA_VERSION
            case other:
                raise AssertionError(f"{other!r} names no version") from None
        return
    assert state is IN_OFFICE
    assert isinstance(verdict, Refused)
    assert apply_bytes(IN_OFFICE, data) == (state, verdict)
