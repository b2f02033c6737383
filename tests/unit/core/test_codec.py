from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.codec import (
    MAX_COMMAND_BYTES,
    decode_command,
    decode_state,
    encode_command,
    encode_content,
    encode_state,
    state_digest,
)
from rbcluster.core.commands import (
    AcceptInvitation,
    AddMember,
    ChangeRole,
    Command,
    DropMember,
    Invite,
    RaiseSchema,
    ReportIntroPoints,
    SeedCluster,
    SetAddress,
    SetWish,
    TakeOffice,
)
from rbcluster.core.ids import Incarnation, Term, UnixMs
from rbcluster.core.state import ClusterState, Invitation, Member, Presence, Role, Wish
from rbcluster.core.wire import Wire, to_bytes
from rbcluster.errors import CommandError
from rbcluster.hs.intro_point import ServiceTraits
from tests.shared.builders import (
    ADA,
    BOB,
    EVE,
    FOREIGN,
    HSDIRS,
    IN_OFFICE,
    MALLORY,
    NOW,
    SEED,
    after,
    drain,
    end_maintenance,
    end_transfer,
    folded,
    logs,
    maintenance,
    order_transfer,
    period,
    point,
    raise_floor,
    record_round,
    report,
    report_backend,
    reserve,
    set_presence,
    take_office,
)

TRAITS = ServiceTraits(
    create2_formats=(1, 2),
    intro_auth_required=("ed25519",),
    single_onion_service=True,
    flow_control=("1-2", 31),
)
FULL_REPORT = replace(report(ADA, *map(point, range(20))), traits=TRAITS, descriptor=bytes(50_000))
INVITE = Invite(digest=b"h" * 32, invitation=Invitation(expires_at=NOW, role=Wish.LEARNER))
CHANGE_ROLE = ChangeRole(node=EVE, role=Role.VOTER, incarnation=Incarnation(b"i" * 16))
ONE_OF_EACH: tuple[Command, ...] = (
    SEED,
    take_office(),
    FULL_REPORT,
    report_backend(7, point(40)),
    set_presence(BOB, Presence.WITHDRAWN),
    reserve(7),
    raise_floor(9),
    record_round(7, accepted=HSDIRS[1:3], refused=HSDIRS[:1]),
    order_transfer(),
    end_transfer(),
    drain(),
    maintenance(),
    end_maintenance(),
    RaiseSchema(version=2, office_node=ADA, office_term=Term(7)),
    AddMember(node=ADA, address="[::1]:7300", wish=Wish.LEARNER, weight=3),
    SetWish(node=ADA, wish=Wish.GONE),
    SetAddress(node=ADA, address="a.example.org:7300"),
    INVITE,
    AcceptInvitation(proof=b"s" * 32, node=ADA, address="a:1", at=NOW),
    CHANGE_ROLE,
    DropMember(node=ADA),
)
BUSY = after(
    [
        FULL_REPORT,
        report(BOB, point(30), origin=FOREIGN),
        report_backend(7, point(40)),
        set_presence(BOB, Presence.WITHDRAWN),
        reserve(7),
        record_round(7, accepted=HSDIRS[1:3], refused=HSDIRS[:1]),
        order_transfer(),
        drain(),
        maintenance(),
        INVITE,
        CHANGE_ROLE,
        AddMember(node=MALLORY, address="m:1", wish=Wish.LEARNER, weight=1),
        DropMember(node=MALLORY),
    ],
    IN_OFFICE,
)


def test_there_is_an_example_of_each_command() -> None:
    assert {type(command) for command in ONE_OF_EACH} == set(get_args(Command))


@pytest.mark.parametrize("command", ONE_OF_EACH, ids=lambda command: type(command).__name__)
def test_every_field_of_a_command_comes_back(command: Command) -> None:
    decoded = decode_command(encode_command(command))
    for name in (field.name for field in fields(command)):
        assert getattr(decoded, name) == getattr(command, name)


@given(logs())
def test_any_command_comes_back(log: list[Command]) -> None:
    assert [decode_command(encode_command(command)) for command in log] == log


@given(logs())
def test_any_state_comes_back(log: list[Command]) -> None:
    state = folded(log)
    assert decode_state(encode_state(state)) == state


@pytest.mark.parametrize("state", [ClusterState(), BUSY])
def test_every_field_of_a_state_comes_back(state: ClusterState) -> None:
    decoded = decode_state(encode_state(state))
    for name in (field.name for field in fields(state)):
        assert getattr(decoded, name) == getattr(state, name)


def test_the_form_of_a_command_is_fixed() -> None:
    assert encode_command(take_office(ADA, 5)).hex() == "93010292a361646105"


def test_the_form_of_the_state_is_fixed() -> None:
    # Another digest here means another SCHEMA_VERSION: nodes of two versions could not agree.
    assert state_digest(ClusterState()).hex() == (
        "418187b1b06d839de7cddc5d89dfa18cef6f0d47737a20a668e7c2af16a669cd"
    )
    assert state_digest(BUSY).hex() == (
        "67ea06d8b014e70f71363dbdb26892cf1a9a5e679e0bf21b5f88eed1a95bd109"
    )


def test_the_order_in_which_maps_were_filled_does_not_show() -> None:
    backwards = replace(
        BUSY,
        members=dict(reversed([*BUSY.members.items()])),
        services=dict(reversed([*BUSY.services.items()])),
        pool=dict(reversed([*BUSY.pool.items()])),
    )
    assert encode_state(backwards) == encode_state(BUSY)


def test_two_states_have_two_digests() -> None:
    assert state_digest(BUSY) != state_digest(IN_OFFICE)


# --- what is refused


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_nothing_but_a_command_error(data: bytes) -> None:
    for decode in (decode_command, decode_state):
        with pytest.raises(CommandError):
            decode(data)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4),
)


@given(st.integers(0, 20), _PLAIN)
def test_well_formed_msgpack_is_a_command_that_is_written_alike_or_a_command_error(
    kind: int, value: Wire
) -> None:
    data = to_bytes([1, kind, value])
    with suppress(CommandError):
        assert encode_command(decode_command(data)) == data
    with pytest.raises(CommandError):
        decode_state(to_bytes([1, value]))


@given(st.sampled_from(ONE_OF_EACH), st.data())
def test_a_damaged_command_is_refused_or_is_another_command(
    command: Command, data: st.DataObject
) -> None:
    good = encode_command(replace(command) if command is not FULL_REPORT else report(ADA, point(1)))
    position = data.draw(st.integers(0, len(good) - 1))
    damaged = bytearray(good)
    damaged[position] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_command(bytes(damaged))
    except CommandError:
        return
    assert decoded != command


@pytest.mark.parametrize("command", ONE_OF_EACH[:2])
def test_a_command_cut_short_or_continued_is_refused(command: Command) -> None:
    good = encode_command(command)
    for length in range(len(good)):
        with pytest.raises(CommandError):
            decode_command(good[:length])
    with pytest.raises(CommandError):
        decode_command(good + b"\x00")


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        ([0, 2, ["ada", 5]], "0 is not within 1..65535"),
        ([True, 2, ["ada", 5]], "bool found"),
        ([1, 99, ["ada", 5]], "there is no kind 99"),
        ([1, True, ["ada", 5]], "bool found"),
        ([1, 2, ["ada"]], "1 long, not 2..2"),
        ([1, 2, ["ada", 5, 6]], "3 long, not 2..2"),
        ([1, 2, ["Ada", 5]], "node: 'Ada' is no node name"),
        ([1, 2, ["ada", -1]], "term: -1 is not within"),
        ([1, 2, ["ada", 2**63]], "term: .* is not within"),
        ([1, 2], "not an array of 3 parts"),
        ("words", "not an array of 3 parts"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(wire: Wire, complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        decode_command(to_bytes(wire))


def test_a_snapshot_of_no_version_is_refused() -> None:
    with pytest.raises(CommandError, match="no snapshot: 0 is not within"):
        decode_state(b"\x92\x00" + encode_state(BUSY)[2:])


def test_a_trait_can_not_smuggle_a_line_into_a_descriptor() -> None:
    for word in ("1-2 31\nintroduction-point", "1-2 31", "1–2", ""):
        traits = replace(TRAITS, flow_control=(word, 31))
        with pytest.raises(CommandError, match="traits: flow_control"):
            encode_command(replace(FULL_REPORT, traits=traits))


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (take_office(term=2**63), "TakeOffice can't be written: term"),
        (report(ADA, *map(point, range(21))), "points: 21 long, not 0..20"),
        (replace(FULL_REPORT, descriptor=bytes(50_001)), "descriptor: 50001 long"),
        (replace(FULL_REPORT, reported_at=UnixMs(2**47)), "reported_at: "),
    ],
)
def test_a_value_out_of_bounds_is_not_written(
    command: TakeOffice | ReportIntroPoints, complaint: str
) -> None:
    with pytest.raises(CommandError, match=complaint):
        encode_command(command)


def test_a_command_above_the_size_limit_is_neither_written_nor_read() -> None:
    members = tuple(
        Member(node=replace(ADA, name=f"n{number}"), address="a" * 261) for number in range(1000)
    )
    huge = SeedCluster(name="demo", members=members, services={}, policy=SEED.policy)
    with pytest.raises(CommandError, match=f"at most {MAX_COMMAND_BYTES} bytes"):
        encode_command(huge)
    with pytest.raises(CommandError, match=f"at most {MAX_COMMAND_BYTES} bytes"):
        decode_command(bytes(MAX_COMMAND_BYTES + 1))


def test_a_report_with_the_largest_of_everything_fits() -> None:
    assert len(encode_command(FULL_REPORT)) < MAX_COMMAND_BYTES


def test_a_state_out_of_bounds_is_not_written() -> None:
    with pytest.raises(CommandError, match="the state can't be written: name"):
        encode_state(replace(ClusterState(), name="x" * 64))


def test_no_two_contents_of_a_descriptor_are_written_alike() -> None:
    base = (period(), HSDIRS[:2], (point(1), point(2)), ServiceTraits())
    others = [
        (period(20_001), *base[1:]),
        (base[0], HSDIRS[1:3], *base[2:]),
        (*base[:2], (point(2), point(1)), base[3]),
        (*base[:2], (point(1),), base[3]),
        (*base[:2], (point(1), replace(point(2), enc_key=point(3).enc_key)), base[3]),
        (*base[:3], TRAITS),
    ]
    written = {encode_content(*content) for content in [base, *others]}
    assert len(written) == 1 + len(others)
