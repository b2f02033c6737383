"""The wire form of commands and of the whole state: a table of fields for each type.

A command is ``msgpack([schema, kind, fields])`` with the version that brought its kind, a snapshot
``msgpack([schema, fields])`` with the version in force. Order and bounds below are the format: what
changes any of them raises SCHEMA_VERSION, and keeps the old form beside the new one. The bytes are
canonical, so `state_digest` is equal on all nodes that hold the same state, whatever their release.

Bytes of a newer version are a `SchemaError`: other nodes can read them, so this one must not pass
over them. Whatever else can't be read is no command anywhere, and passed over everywhere alike.

Not here: what a command does (`core/apply.py`), files and checksums (`raft/`).

Overview::

    encode_command, decode_command
    encode_state, decode_state, state_digest
    encode_content     what a descriptor shows, for `plan`'s digest
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from rbcluster.core.commands import (
    AcceptInvitation,
    AddMember,
    ChangeRole,
    Command,
    DropMember,
    EndMaintenance,
    EndTransfer,
    Invite,
    OrderTransfer,
    RaiseFloor,
    RaiseSchema,
    RecordRound,
    ReportBackend,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    SetAddress,
    SetDrained,
    SetMaintenance,
    SetPresence,
    SetWish,
    TakeOffice,
)
from rbcluster.core.ids import ID_BYTES, ClusterId, Incarnation, NodeId
from rbcluster.core.state import (
    SCHEMA_VERSION,
    Backend,
    ClusterState,
    Invitation,
    Member,
    NodeReport,
    Office,
    Policy,
    Presence,
    Publication,
    Reservation,
    Role,
    Transfer,
    UploadBudget,
    Wish,
)
from rbcluster.core.wire import (
    BOOLEAN,
    Codec,
    Wire,
    enum_of,
    from_bytes,
    integer,
    mapping,
    octets,
    optional,
    pair,
    record,
    sequence,
    set_of,
    text,
    to_bytes,
    wrapped,
)
from rbcluster.errors import CommandError, SchemaError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Standing
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, ServiceTraits
from rbcluster.hs.keys import IdentityKey, IntroAuthKey, IntroEncKey, PublicKey, RelayNtorKey
from rbcluster.hs.params import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    MAX_DESCRIPTOR_BYTES,
    MAX_INTRO_POINTS,
)
from rbcluster.hs.time_period import DescriptorSlot, TimePeriod

MAX_REASON_CHARS = 120  # of what an HSDir answered: it stays in the state
MAX_COMMAND_BYTES = 2**18  # a seed of 600 members, or a report with the largest of everything


MAX_SERVICES = 100
MAX_BACKENDS = 1_000  # of all services together
_MAX_MEMBERS = 1_000
_MAX_INVITATIONS = 100
_MAX_HSDIRS = 256  # per descriptor: at most 16 replicas x 128 by consensus rules; 2 x 4 in use
_MAX_PUBLICATIONS = 100 * MAX_SERVICES
_MAX_LINK_SPECIFIERS = 16  # 4 kinds exist; unknown ones are kept
_MAX_TRAIT_VALUES = 16

_COUNT = integer(0, 2**32 - 1)
_U64 = integer(0, 2**64 - 1)
_TERM = integer(0, 2**63 - 1)
_INSTANT = integer(0, 2**47 - 1)  # the year 6429: still a date everywhere
_NAME = text(1, 63)
_KIND = integer(1, 2**16 - 1)
_SCHEMA = integer(1, 2**16 - 1)
_REASON = text(0, MAX_REASON_CHARS)


def _word(value: str) -> str:
    """Refuse what could end a word, or the line, that it becomes in a descriptor."""
    if not value.isascii() or " " in value:
        raise ValueError(f"{value!r} is not one word of ASCII")
    return value


_WORD = wrapped(_NAME, _word, _word)


def _key(cls: type[PublicKey]) -> Codec[Any]:
    return wrapped(octets(KEY_BYTES, KEY_BYTES), cls, lambda key: key.raw)


_NODE = wrapped(_NAME, NodeId, lambda node: node.name)
_FINGERPRINT = wrapped(
    octets(FINGERPRINT_BYTES, FINGERPRINT_BYTES), Fingerprint, lambda relay: relay.raw
)
_ADDRESS = wrapped(_key(IdentityKey), OnionAddress, lambda address: address.identity)
_PERIOD = record(TimePeriod, number=_COUNT, length_min=_COUNT)
_SLOT = enum_of(DescriptorSlot)
_HSDIRS = sequence(_FINGERPRINT, _MAX_HSDIRS)
_REFUSED = mapping(_FINGERPRINT, _REASON, _MAX_HSDIRS)
_ACCEPTED = set_of(_FINGERPRINT, _MAX_HSDIRS)

_LINK_SPECIFIER = record(LinkSpecifier, type=integer(0, 255), data=octets(0, 255))
_INTRO_POINT = record(
    IntroPoint,
    link_specifiers=sequence(_LINK_SPECIFIER, _MAX_LINK_SPECIFIERS),
    onion_key=_key(RelayNtorKey),
    auth_key=_key(IntroAuthKey),
    enc_key=_key(IntroEncKey),
)
_POINTS = sequence(_INTRO_POINT, MAX_INTRO_POINTS)
_TRAITS = record(
    ServiceTraits,
    create2_formats=sequence(integer(0, 2**16 - 1), _MAX_TRAIT_VALUES),
    intro_auth_required=sequence(_WORD, _MAX_TRAIT_VALUES),
    single_onion_service=BOOLEAN,
    flow_control=optional(pair(_WORD, integer(0, 255))),
)

_HOST_PORT = text(1, 261)  # a host name of 253, a colon, a port; brackets of an IPv6 address
_WEIGHT = integer(1, 2**16 - 1)
_WISH = enum_of(Wish)
_CLUSTER_ID = wrapped(octets(ID_BYTES, ID_BYTES), ClusterId, lambda drawn: drawn.raw)
_INCARNATION = wrapped(octets(ID_BYTES, ID_BYTES), Incarnation, lambda drawn: drawn.raw)
_HASH = octets(32, 32)
_MEMBER = record(
    Member,
    node=_NODE,
    address=_HOST_PORT,
    role=enum_of(Role),
    weight=_WEIGHT,
    presence=enum_of(Presence),
    drained=BOOLEAN,
    wish=_WISH,
    incarnation=optional(_INCARNATION),
)
_INVITATION = record(Invitation, expires_at=_INSTANT, role=_WISH)
_POLICY = record(
    Policy,
    max_intro_points=_COUNT,
    withdraw_after_ms=_COUNT,
    settle_ms=_COUNT,
    refresh_min_ms=_COUNT,
    refresh_max_ms=_COUNT,
    upload_burst=_COUNT,
    upload_every_ms=_COUNT,
    fetch_every_ms=_COUNT,
    stale_after_ms=_COUNT,
    shuffle_seed=octets(32, 32),
)
_SERVICES = mapping(_ADDRESS, _NAME, MAX_SERVICES)
_OFFICE = record(Office, node=_NODE, term=_TERM)
_REPORT = record(NodeReport, origin=_ADDRESS, points=_POINTS, traits=_TRAITS, reported_at=_INSTANT)
_STANDING = record(Standing, period=_PERIOD, revision=_U64)
_BACKEND_KEY = pair(_ADDRESS, _ADDRESS)
_BACKEND = record(
    Backend,
    points=_POINTS,
    traits=_TRAITS,
    standing=optional(_STANDING),
    risen_at=optional(_INSTANT),
)
_RESERVATION = record(
    Reservation,
    slot=_SLOT,
    revision=_U64,
    digest=octets(32, 32),
    node=_NODE,
    term=_TERM,
    reserved_at=_INSTANT,
    hsdirs=_HSDIRS,
    auth_keys=sequence(_key(IntroAuthKey), MAX_INTRO_POINTS),
)
_PUBLICATION = record(
    Publication,
    period=_PERIOD,
    floor=_U64,
    budget=record(UploadBudget, millitokens=_U64, updated_at=_INSTANT),
    reservation=optional(_RESERVATION),
    accepted=_ACCEPTED,
    refused=_REFUSED,
    finished_at=optional(_INSTANT),
    refresh_at=optional(_INSTANT),
)
_STATE = record(
    ClusterState,
    name=text(0, 63),
    cluster_id=optional(_CLUSTER_ID),
    members=mapping(_NODE, _MEMBER, _MAX_MEMBERS),
    services=_SERVICES,
    policy=_POLICY,
    pool=mapping(pair(_ADDRESS, _NODE), _REPORT, _MAX_MEMBERS * MAX_SERVICES),
    backends=mapping(_BACKEND_KEY, _BACKEND, MAX_BACKENDS),
    office=optional(_OFFICE),
    transfer=optional(record(Transfer, to=optional(_NODE))),
    maintenance_until=optional(_INSTANT),
    invitations=mapping(_HASH, _INVITATION, _MAX_INVITATIONS),
    publications=mapping(pair(_ADDRESS, _COUNT), _PUBLICATION, _MAX_PUBLICATIONS),
)

# kind -> type and fields. A kind is never given to another command, not even after its removal.
_COMMANDS: dict[int, tuple[type, Codec[Any]]] = {
    1: (
        SeedCluster,
        record(
            SeedCluster,
            name=_NAME,
            members=sequence(_MEMBER, _MAX_MEMBERS),
            services=_SERVICES,
            policy=_POLICY,
            cluster_id=_CLUSTER_ID,
            backends=set_of(_BACKEND_KEY, MAX_BACKENDS),
        ),
    ),
    2: (TakeOffice, record(TakeOffice, node=_NODE, term=_TERM)),
    3: (
        ReportIntroPoints,
        record(
            ReportIntroPoints,
            node=_NODE,
            service=_ADDRESS,
            origin=_ADDRESS,
            points=_POINTS,
            traits=_TRAITS,
            descriptor=octets(0, MAX_DESCRIPTOR_BYTES),
            reported_at=_INSTANT,
        ),
    ),
    4: (
        SetPresence,
        record(
            SetPresence,
            node=_NODE,
            presence=enum_of(Presence),
            office_node=_NODE,
            office_term=_TERM,
        ),
    ),
    5: (
        ReservePublication,
        record(
            ReservePublication,
            service=_ADDRESS,
            period=_PERIOD,
            reservation=_RESERVATION,
            is_withdrawal=BOOLEAN,
        ),
    ),
    6: (
        RaiseFloor,
        record(
            RaiseFloor,
            service=_ADDRESS,
            period=_PERIOD,
            floor=_U64,
            office_node=_NODE,
            office_term=_TERM,
            at=_INSTANT,
        ),
    ),
    7: (
        RecordRound,
        record(
            RecordRound,
            service=_ADDRESS,
            period=_PERIOD,
            revision=_U64,
            accepted=_ACCEPTED,
            refused=_REFUSED,
            finished_at=_INSTANT,
            refresh_at=_INSTANT,
            office_node=_NODE,
            office_term=_TERM,
        ),
    ),
    8: (OrderTransfer, record(OrderTransfer, to=optional(_NODE), term=_TERM)),
    9: (EndTransfer, record(EndTransfer, office_node=_NODE, office_term=_TERM)),
    10: (SetDrained, record(SetDrained, node=_NODE, drained=BOOLEAN, force=BOOLEAN)),
    11: (SetMaintenance, record(SetMaintenance, at=_INSTANT, until=optional(_INSTANT))),
    12: (
        EndMaintenance,
        record(EndMaintenance, until=_INSTANT, office_node=_NODE, office_term=_TERM),
    ),
    14: (
        ReportBackend,
        record(
            ReportBackend,
            service=_ADDRESS,
            backend=_ADDRESS,
            points=_POINTS,
            traits=_TRAITS,
            standing=_STANDING,
            at=_INSTANT,
            office_node=_NODE,
            office_term=_TERM,
        ),
    ),
    32: (
        RaiseSchema,
        record(RaiseSchema, version=_SCHEMA, office_node=_NODE, office_term=_TERM),
    ),
    20: (
        AddMember,
        record(AddMember, node=_NODE, address=_HOST_PORT, wish=_WISH, weight=_WEIGHT),
    ),
    21: (SetWish, record(SetWish, node=_NODE, wish=_WISH)),
    22: (SetAddress, record(SetAddress, node=_NODE, address=_HOST_PORT)),
    23: (Invite, record(Invite, digest=_HASH, invitation=_INVITATION)),
    24: (
        AcceptInvitation,
        record(AcceptInvitation, proof=octets(32, 32), node=_NODE, address=_HOST_PORT, at=_INSTANT),
    ),
    25: (
        ChangeRole,
        record(ChangeRole, node=_NODE, role=enum_of(Role), incarnation=optional(_INCARNATION)),
    ),
    26: (DropMember, record(DropMember, node=_NODE)),
}
_BROUGHT_BY: dict[int, int] = {}  # kind -> schema that brought it, unless it was the first
_KINDS = {command_type: kind for kind, (command_type, _) in _COMMANDS.items()}


def encode_command(command: Command) -> bytes:
    """Write a command.

    :raises CommandError: if a value in it is out of bounds, or it is above MAX_COMMAND_BYTES.
    """
    kind = _KINDS[type(command)]
    try:
        fields = _COMMANDS[kind][1].pack(command)
        data = to_bytes([_BROUGHT_BY.get(kind, 1), kind, fields])
    except ValueError as error:
        raise CommandError(f"{type(command).__name__} can't be written: {error}") from error
    _check_length(data)
    return data


def decode_command(data: bytes) -> Command:
    """Read a command.

    :raises SchemaError: if `data` is of a newer version.
    :raises CommandError: if it is no command; never anything else.
    """
    _check_length(data)
    try:
        schema, (wire_kind, fields) = _open(from_bytes(data), num_parts=2)
        kind = _KIND.unpack(wire_kind)
        if kind not in _COMMANDS or schema != _BROUGHT_BY.get(kind, 1):
            raise ValueError(f"there is no kind {kind}")
        command: Command = _COMMANDS[kind][1].unpack(fields)
    except ValueError as error:
        raise CommandError(f"this is no command: {error}") from error
    return command


def encode_state(state: ClusterState) -> bytes:
    """Write a snapshot: equal states give equal bytes.

    :raises CommandError: if a value in it is out of bounds, which `apply` does not let happen.
    """
    try:
        return to_bytes([_SCHEMA.pack(state.schema), _STATE.pack(state)])
    except ValueError as error:
        raise CommandError(f"the state can't be written: {error}") from error


def decode_state(data: bytes) -> ClusterState:
    """Read a snapshot.

    :raises SchemaError: if `data` is of a newer version.
    :raises CommandError: if it is no snapshot; never anything else.
    """
    try:
        schema, (fields,) = _open(from_bytes(data), num_parts=1)
        return replace(_STATE.unpack(fields), schema=schema)
    except ValueError as error:
        raise CommandError(f"this is no snapshot: {error}") from error


def state_digest(state: ClusterState) -> bytes:
    """Compute what two nodes compare to know that they agree (SHA-256, 32 bytes)."""
    return hashlib.sha256(encode_state(state)).digest()


def encode_content(
    period: TimePeriod,
    hsdirs: tuple[Fingerprint, ...],
    points: tuple[IntroPoint, ...],
    traits: ServiceTraits,
) -> bytes:
    """Write what a descriptor shows and where, unambiguously: what a reservation's digest covers.

    :raises ValueError: if a value is out of bounds, which those of a state never are.
    """
    return to_bytes(
        [_PERIOD.pack(period), _HSDIRS.pack(hsdirs), _POINTS.pack(points), _TRAITS.pack(traits)]
    )


def _check_length(data: bytes) -> None:
    if len(data) > MAX_COMMAND_BYTES:
        raise CommandError(f"a command takes at most {MAX_COMMAND_BYTES} bytes, not {len(data)}")


def _open(wire: Wire, num_parts: int) -> tuple[int, list[Wire]]:
    """Take the version off the front of an array.

    :raises SchemaError: if it is a newer one; the rest may then have any form.
    :raises ValueError: if there is none, or the number of the other parts is wrong.
    """
    if not isinstance(wire, list) or not wire:
        raise ValueError(f"it is not an array of {1 + num_parts} parts")
    schema: int = _SCHEMA.unpack(wire[0])
    check_schema(schema)
    if len(wire) != 1 + num_parts:
        raise ValueError(f"it is not an array of {1 + num_parts} parts")
    return schema, wire[1:]


def check_schema(version: int) -> None:
    """Check that this release knows a version of the state machine.

    :raises SchemaError: if it does not.
    """
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"the cluster has gone over to schema {version}, and this rbcluster knows none newer "
            f"than {SCHEMA_VERSION}: upgrade rbcluster on this node, and start it again"
        )
