"""Replicated state for tests: values by number, a founded cluster, random commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

from hypothesis import strategies as st

from rbcluster.core.apply import apply
from rbcluster.core.commands import (
    Applied,
    Command,
    EndMaintenance,
    EndTransfer,
    OrderTransfer,
    RaiseFloor,
    RecordRound,
    Refused,
    ReportBackend,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    SetDrained,
    SetMaintenance,
    SetPresence,
    TakeOffice,
)
from rbcluster.core.ids import ClusterId, NodeId, Term, UnixMs
from rbcluster.core.state import ClusterState, Member, Policy, Presence, Reservation, Role
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.descriptor import Standing
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import (
    IdentityKeypair,
    IntroAuthKey,
    IntroEncKey,
    RelayNtorKey,
)
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import DescriptorSlot, TimePeriod

NODES = tuple(map(NodeId, ("ada", "bob", "cyd")))
ADA, BOB, CYD = NODES
EVE = NodeId("eve")  # a learner
MALLORY = NodeId("mallory")  # no member
SHOP, BLOG, FOREIGN, BACKEND = (
    OnionAddress(IdentityKeypair.from_seed(bytes([number]) * 32).public) for number in (1, 2, 3, 4)
)
POLICY = Policy(upload_burst=5, upload_every_ms=10_000)
NOW = UnixMs(1_700_000_000_000)
HSDIRS = tuple(Fingerprint(bytes([200 + number]) * 20) for number in range(4))


def period(number: int = 20_000) -> TimePeriod:
    return TimePeriod(number=number, length_min=1440)


def point(relay: int, key: int | None = None) -> IntroPoint:
    """An introduction point on relay `relay`, named by auth key `key` (the relay's number)."""
    key = relay if key is None else key
    return IntroPoint(
        link_specifiers=(
            LinkSpecifier(LinkType.LEGACY_ID, relay.to_bytes(20)),
            LinkSpecifier(LinkType.IPV4, bytes(6)),
        ),
        onion_key=RelayNtorKey(relay.to_bytes(32)),
        auth_key=IntroAuthKey(key.to_bytes(32)),
        enc_key=IntroEncKey(key.to_bytes(32)),
    )


CLUSTER = ClusterId(b"c" * 16)
SEED = SeedCluster(
    name="demo",
    cluster_id=CLUSTER,
    members=tuple(
        Member(node=node, address=f"127.0.0.1:{7000 + number}", role=role)
        for number, (node, role) in enumerate(
            [*((node, Role.VOTER) for node in NODES), (EVE, Role.LEARNER)]
        )
    ),
    services={SHOP: "shop", BLOG: "blog"},
    policy=POLICY,
    backends=frozenset({(SHOP, BACKEND)}),
)


def after(commands: Iterable[Command], state: ClusterState | None = None) -> ClusterState:
    """The state after commands, each of which must be applied."""
    state = ClusterState() if state is None else state
    for command in commands:
        state, verdict = apply(state, command)
        assert verdict == Applied(), command
    return state


def folded(commands: Sequence[Command], state: ClusterState | None = None) -> ClusterState:
    """The state after commands, applied or refused."""
    return reduce(lambda s, command: apply(s, command)[0], commands, state or ClusterState())


def refusal(state: ClusterState, command: Command) -> str:
    """The rule that a command breaks; it must leave the very same state."""
    unchanged, verdict = apply(state, command)
    assert unchanged is state
    assert isinstance(verdict, Refused)
    return verdict.rule


def take_office(node: NodeId = ADA, term: int = 1) -> TakeOffice:
    return TakeOffice(node=node, term=Term(term))


def report(
    node: NodeId,
    *points: IntroPoint,
    at: int = NOW,
    service: OnionAddress = SHOP,
    origin: OnionAddress | None = None,
) -> ReportIntroPoints:
    return ReportIntroPoints(
        node=node,
        service=service,
        origin=origin or service,
        points=points,
        traits=ServiceTraits(),
        descriptor=b"signed" if points else b"",
        reported_at=UnixMs(at),
    )


def report_backend(
    revision: int,
    *points: IntroPoint,
    node: NodeId = ADA,
    term: int = 1,
    backend: OnionAddress = BACKEND,
    number: int = 20_000,
    at: int = NOW,
) -> ReportBackend:
    return ReportBackend(
        service=SHOP,
        backend=backend,
        points=points,
        traits=ServiceTraits(),
        standing=Standing(period=period(number), revision=RevisionCounter(revision)),
        at=UnixMs(at),
        office_node=node,
        office_term=Term(term),
    )


def reserve(
    revision: int,
    *,
    node: NodeId = ADA,
    term: int = 1,
    service: OnionAddress = SHOP,
    number: int = 20_000,
    at: int = NOW,
    is_withdrawal: bool = False,
    points: Sequence[IntroPoint] = (point(1), point(2)),
    hsdirs: tuple[Fingerprint, ...] = HSDIRS,
) -> ReservePublication:
    return ReservePublication(
        service=service,
        period=period(number),
        reservation=Reservation(
            slot=DescriptorSlot.FIRST,
            revision=RevisionCounter(revision),
            digest=bytes(32),
            node=node,
            term=Term(term),
            reserved_at=UnixMs(at),
            hsdirs=hsdirs,
            auth_keys=tuple(shown.auth_key for shown in points),
        ),
        is_withdrawal=is_withdrawal,
    )


def raise_floor(
    floor: int,
    *,
    node: NodeId = ADA,
    term: int = 1,
    service: OnionAddress = SHOP,
    number: int = 20_000,
) -> RaiseFloor:
    return RaiseFloor(
        service=service,
        period=period(number),
        floor=RevisionCounter(floor),
        office_node=node,
        office_term=Term(term),
        at=NOW,
    )


def record_round(
    revision: int,
    *,
    accepted: Iterable[Fingerprint] = (),
    refused: Iterable[Fingerprint] = (),
    node: NodeId = ADA,
    term: int = 1,
    service: OnionAddress = SHOP,
    number: int = 20_000,
) -> RecordRound:
    return RecordRound(
        service=service,
        period=period(number),
        revision=RevisionCounter(revision),
        accepted=frozenset(accepted),
        refused=dict.fromkeys(refused, "UPLOAD_REJECTED"),
        finished_at=UnixMs(NOW + 500),
        refresh_at=UnixMs(NOW + 5_000_000),
        office_node=node,
        office_term=Term(term),
    )


def set_presence(
    node: NodeId, presence: Presence, *, office_node: NodeId = ADA, term: int = 1
) -> SetPresence:
    return SetPresence(
        node=node, presence=presence, office_node=office_node, office_term=Term(term)
    )


def order_transfer(to: NodeId | None = BOB, term: int = 1) -> OrderTransfer:
    return OrderTransfer(to=to, term=Term(term))


def end_transfer(node: NodeId = ADA, term: int = 1) -> EndTransfer:
    return EndTransfer(office_node=node, office_term=Term(term))


def drain(node: NodeId = CYD, *, drained: bool = True, force: bool = False) -> SetDrained:
    return SetDrained(node=node, drained=drained, force=force)


def maintenance(until: int | None = NOW + 1_800_000) -> SetMaintenance:
    return SetMaintenance(at=NOW, until=None if until is None else UnixMs(until))


def end_maintenance(
    until: int = NOW + 1_800_000, node: NodeId = ADA, term: int = 1
) -> EndMaintenance:
    return EndMaintenance(until=UnixMs(until), office_node=node, office_term=Term(term))


FOUNDED = after([SEED])
IN_OFFICE = after([SEED, take_office()])
ON_SHOW = after(  # what `reserve` names is there
    [report(CYD, point(1), point(2)), report(CYD, point(1), point(2), service=BLOG)], IN_OFFICE
)


# --- random logs: few nodes, terms, revisions and periods, so that commands meet each other

_OTHERS: tuple[Command, ...] = (  # what goes on beside, much of it against some rule
    SEED,
    take_office(EVE, 9),
    take_office(MALLORY, 9),
    take_office(BOB, 2),
    report(BOB, point(2), point(3)),
    report(CYD, point(1), point(2, key=1)),
    report(ADA, point(4), service=BLOG),
    report(ADA, point(4), service=FOREIGN),
    report(MALLORY, point(1)),
    report_backend(5, point(5), point(2), node=BOB, term=2),
    report_backend(9, point(5), backend=FOREIGN),
    set_presence(MALLORY, Presence.LIVE),
    set_presence(CYD, Presence.WITHDRAWN, office_node=BOB, term=2),
    reserve(5, node=BOB, term=2),
    reserve(6, service=BLOG),
    reserve(1, service=FOREIGN),
    reserve(7, number=20_001, points=()),
    reserve(7, number=20_001, hsdirs=()),
    reserve(7, number=20_001, hsdirs=HSDIRS[:1] * 2),
    record_round(5, accepted=HSDIRS, node=BOB, term=2),
    record_round(6, accepted=HSDIRS, service=BLOG),
    raise_floor(2**34, service=BLOG),
    raise_floor(2**63),
    order_transfer(EVE),
    order_transfer(CYD),
    end_transfer(BOB, 2),
    drain(MALLORY),
    drain(EVE),
    maintenance(),
    maintenance(None),
    maintenance(NOW),
    end_maintenance(),
)
_ACTS = (
    *["reserve"] * 5,
    "usurp",
    "record",
    "record",
    "raise",
    "succeed",
    "presence",
    "report",
    "backend",
    "transfer",
    "end transfer",
    "drain",
    "repeat",
)
_Act = tuple[str, int, int, Command]  # what to do, two dice to choose by, and something else


def _follow(log: Sequence[Command], state: ClusterState, act: _Act) -> Command:
    """A command that the state is likely to take, or just not: by its office holder or an heir."""
    what, one, two, other = act
    assert state.office is not None
    node, term = state.office.node, state.office.term
    newest = max((number for _, number in state.publications), default=20_000)
    number = newest + (0, 0, 0, -1, -3, 1)[one]
    known = state.publications.get((SHOP, number))
    last = known.reservation if known else None
    above = (known.floor if known else 0) + (2**34 if two == 5 else two)
    likely: dict[str, Command] = {
        "reserve": reserve(
            above,
            node=node,
            term=term,
            number=number,
            at=NOW + 10_000 * two,
            is_withdrawal=two > 2,
        ),
        "usurp": reserve(
            above, node=NODES[two % 3], term=max(0, term - one % 3), number=number
        ),  # by anyone, in this term or one that has ended
        "record": record_round(
            last.revision if last else above,
            accepted=HSDIRS[:two],
            refused=HSDIRS[one:],
            node=node,
            term=term,
            number=number,
        ),
        "raise": raise_floor(above, node=node, term=term, number=number),
        "succeed": take_office(NODES[one % 3], term + two % 3),
        "presence": set_presence(NODES[one % 3], [*Presence][two % 2], office_node=node, term=term),
        "backend": report_backend(above, *map(point, range(one)), node=node, term=term),
        "report": report(NODES[one % 3], *map(point, range(two))),
        "transfer": order_transfer((*NODES, None)[one % 4], term),
        "end transfer": end_transfer(node, term),
        "drain": drain(NODES[one % 3], drained=two > 2, force=two > 4),
        "repeat": log[-1 - one % len(log)],  # perhaps after its office has ended
    }
    return likely.get(what, other)


def _play(acts: Sequence[_Act]) -> list[Command]:
    log: list[Command] = [replace(SEED, policy=Policy(upload_burst=50)), take_office()]
    state = folded(log)
    for act in acts:
        log.append(_follow(log, state, act))
        state, _ = apply(state, log[-1])
    return log


def logs() -> st.SearchStrategy[list[Command]]:
    """A log of a founded cluster: likely commands, stale ones said again, and others."""
    die = st.integers(0, 5)
    whats = st.sampled_from([*_ACTS, *["other"] * 3])
    acts = st.tuples(whats, die, die, st.sampled_from(_OTHERS))
    return st.lists(acts, min_size=5, max_size=40).map(_play)
