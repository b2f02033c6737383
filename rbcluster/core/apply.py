"""apply: the one way to change `ClusterState`.

Deterministic: no clock, no randomness, no I/O, integers only; maps are changed key by key and never
iterated for an outcome that their order could change. The same log gives the same state on every
node. A rule that a command breaks becomes `Refused`, and the state stays what it was.

The fence: `TakeOffice` commits who may publish, and every command of an office holder names its
office. A deposed leader's command is refused wherever it lands in the log, whatever it believed.

Not here: whether a reported introduction point is real (the leader verifies its descriptor before
the command enters the log), or when something should be published (`core/decide.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from types import MappingProxyType

from rbcluster.core import apply_membership, budget
from rbcluster.core.backends import live_backends, report_backend
from rbcluster.core.codec import check_schema, decode_command
from rbcluster.core.commands import (
    Applied,
    Command,
    EndMaintenance,
    EndTransfer,
    MembershipCommand,
    OperatorCommand,
    RaiseFloor,
    RaiseSchema,
    RecordRound,
    Refused,
    ReportBackend,
    ReportIntroPoints,
    ReservePublication,
    SeedCluster,
    SetPresence,
    TakeOffice,
    Verdict,
)
from rbcluster.core.ids import UnixMs
from rbcluster.core.operator_rules import end_maintenance, follow_operator
from rbcluster.core.rules import RuleBrokenError, find_member, require, require_office, with_entry
from rbcluster.core.state import (
    MAX_VOTERS,
    Backend,
    ClusterState,
    NodeReport,
    Office,
    Presence,
    Publication,
    Role,
)
from rbcluster.errors import CommandError, SchemaError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IntroAuthKey
from rbcluster.hs.params import MAX_INTRO_POINTS
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod

MAX_REVISION_STEP = (
    2**34
)  # our choice: twice tor's scale (below 2^33), so no step leaves it for good
MAX_FLOOR = RevisionCounter(2**64 - 2**40)  # ours: room for any revision that tor may still reach
PERIODS_KEPT = 2  # below the newest; tor keeps two descriptors, of neighbouring periods


def apply_bytes(state: ClusterState, data: bytes) -> tuple[ClusterState, Verdict]:
    """Apply an encoded command; no command that this release knows makes it raise.

    An exception here would repeat on all nodes at every tick and stop the cluster for good. So even
    a mistake of ours ends as `Refused`, alike on every node: it is as deterministic as a rule.

    :raises SchemaError: for a command of a newer release. Where it comes from it is applied, so
        this node must stop, or it would refuse what the others applied.
    :raises MemoryError: for the same reason.
    """
    try:
        return apply(state, decode_command(data))
    except (MemoryError, SchemaError):
        raise
    except CommandError as error:
        return state, Refused(str(error))
    except Exception as error:  # noqa: BLE001 - the last resort described above
        return state, Refused(f"internal error: {type(error).__name__}")


def apply(state: ClusterState, command: Command) -> tuple[ClusterState, Verdict]:
    """Apply a command to a state.

    :returns: the state afterwards (`state` itself if nothing changed) and the verdict.
    """
    try:
        return _changed(state, command), Applied()
    except RuleBrokenError as rule:
        return state, Refused(str(rule))


def _changed(  # noqa: C901, PLR0911, PLR0912 - one return for each command
    state: ClusterState, command: Command
) -> ClusterState:
    """Return the state after a command, or raise the rule that it breaks."""
    if isinstance(command, SeedCluster):
        return _seed(state, command)
    require(state.is_seeded, "the cluster is not founded yet")
    if isinstance(command, OperatorCommand):
        return follow_operator(state, command)
    if isinstance(command, MembershipCommand):
        return apply_membership.changed(state, command)
    match command:
        case TakeOffice():
            return _take_office(state, command)
        case ReportIntroPoints():
            return _report(state, command)
        case ReportBackend():
            return report_backend(state, command)
        case SetPresence():
            return _set_presence(state, command)
        case ReservePublication():
            return _reserve(state, command)
        case RaiseFloor():
            return _raise_floor(state, command)
        case RaiseSchema():
            return _raise_schema(state, command)
        case EndTransfer():
            require_office(state, command.office_node, command.office_term)
            return replace(state, transfer=None)
        case EndMaintenance():
            return end_maintenance(state, command)
        case _:  # RecordRound: the type checker sees to it that no other is left
            return _record_round(state, command)


def _seed(state: ClusterState, command: SeedCluster) -> ClusterState:
    members = {member.node: member for member in command.members}
    addresses = {member.address for member in command.members}
    voters = [member for member in command.members if member.role is Role.VOTER]
    require(not state.is_seeded, "the cluster is founded already")
    require(bool(command.name), "a cluster needs a name")
    require(len(members) == len(command.members), "two members have one name")
    require(len(addresses) == len(command.members), "two members have one address")
    require(bool(voters), "a cluster needs a voter")
    require(len(voters) <= MAX_VOTERS, f"a cluster has at most {MAX_VOTERS} voters")
    for service, backend in command.backends:
        require(service in command.services, "a backend names a service that there is not")
        require(backend not in command.services, "a service can't be a backend of the cluster")
    return replace(
        state,
        name=command.name,
        cluster_id=command.cluster_id,
        members=MappingProxyType(members),
        services=MappingProxyType(dict(command.services)),
        policy=command.policy,
        backends=MappingProxyType(dict.fromkeys(command.backends, Backend())),
    )


def _take_office(state: ClusterState, command: TakeOffice) -> ClusterState:
    require(find_member(state, command.node).role is Role.VOTER, "only a voter may take office")
    last = state.office
    require(last is None or command.term > last.term, "the office was taken in that term or later")
    return replace(state, office=Office(node=command.node, term=command.term), transfer=None)


def _report(state: ClusterState, command: ReportIntroPoints) -> ClusterState:
    find_member(state, command.node)
    _require_service(state, command.service)
    is_foreign = command.origin != command.service and command.origin in state.services
    require(not is_foreign, "points of one service do not answer for another")
    require(len(command.points) <= MAX_INTRO_POINTS, f"more than {MAX_INTRO_POINTS} points")
    _require_distinct([point.auth_key for point in command.points], "introduction point")
    key = command.service, command.node
    known = state.pool.get(key)
    if not command.points:
        pool = {entry: report for entry, report in state.pool.items() if entry != key}
        return replace(state, pool=MappingProxyType(pool)) if known else state
    report = NodeReport(
        origin=command.origin,
        points=command.points,
        traits=command.traits,
        reported_at=command.reported_at,
    )
    if known and replace(report, reported_at=known.reported_at) == known:
        return state  # said before: its instant is not worth a change of state
    return replace(state, pool=with_entry(state.pool, key, report))


def _set_presence(state: ClusterState, command: SetPresence) -> ClusterState:
    require_office(state, command.office_node, command.office_term)
    member = find_member(state, command.node)
    if member.presence is command.presence:
        return state
    member = replace(member, presence=command.presence)
    # What a silent node held may be gone when it is heard again: it must report afresh, or the
    # descriptor would list dead points until it does.
    pool = {
        (service, node): report
        for (service, node), report in state.pool.items()
        if node != member.node or command.presence is Presence.LIVE
    }
    return replace(
        state,
        members=with_entry(state.members, member.node, member),
        pool=MappingProxyType(pool),
    )


def _reserve(state: ClusterState, command: ReservePublication) -> ClusterState:
    wanted = command.reservation
    require_office(state, wanted.node, wanted.term)
    known = _publication(state, command.service, command.period, wanted.reserved_at)
    _require_step(known, wanted.revision)
    require(bool(wanted.auth_keys), "a descriptor without introduction points is not published")
    require(
        len(wanted.auth_keys) <= state.policy.max_intro_points,
        f"more than {state.policy.max_intro_points} introduction points",
    )
    _require_distinct(wanted.auth_keys, "introduction point")
    # What the proposer saw may be out of date: a node may have been withdrawn or drained since.
    require(
        _shown(state, command.service).issuperset(wanted.auth_keys),
        "an introduction point is named that nobody on show holds",
    )
    require(bool(wanted.hsdirs), "no HSDir is named")
    _require_distinct(wanted.hsdirs, "HSDir")
    require(len(wanted.digest) == 32, "the digest is not 32 bytes")  # noqa: PLR2004 - SHA-256
    left = budget.spend(
        known.budget, state.policy, wanted.reserved_at, is_withdrawal=command.is_withdrawal
    )
    if left is None:
        raise RuleBrokenError("the upload budget is spent")
    publication = Publication(
        period=command.period, floor=wanted.revision, budget=left, reservation=wanted
    )
    return _with_publication(state, command.service, publication)


def _shown(state: ClusterState, service: OnionAddress) -> set[IntroAuthKey]:
    """Collect what may be put on show for a service."""
    backends = live_backends(state, service).values()
    return {point.auth_key for backend in backends for point in backend.points} | {
        point.auth_key
        for (address, node), report in state.pool.items()
        if address == service and state.members[node].may_be_shown
        for point in report.points
    }


def _raise_floor(state: ClusterState, command: RaiseFloor) -> ClusterState:
    require_office(state, command.office_node, command.office_term)
    known = _publication(state, command.service, command.period, command.at)
    # No step limit: what an HSDir holds was signed with the master key, on whatever scale.
    require(
        known.floor < command.floor <= MAX_FLOOR,
        f"floor {command.floor} is not above {known.floor}, or leaves no room for revisions",
    )
    return _with_publication(state, command.service, replace(known, floor=command.floor))


def _raise_schema(state: ClusterState, command: RaiseSchema) -> ClusterState:
    require_office(state, command.office_node, command.office_term)
    require(
        command.version > state.schema,
        f"schema {command.version} is not above {state.schema}, which is in force",
    )
    check_schema(command.version)
    return replace(state, schema=command.version)


def _record_round(state: ClusterState, command: RecordRound) -> ClusterState:
    require_office(state, command.office_node, command.office_term)
    known = state.publications.get((command.service, command.period.number))
    if (
        known is None
        or known.period != command.period
        or known.reservation is None
        or known.reservation.revision != command.revision
    ):
        raise RuleBrokenError("that revision is not the one reserved last")
    hsdirs = frozenset(known.reservation.hsdirs)
    require(
        command.accepted <= hsdirs and command.refused.keys() <= hsdirs,
        "an HSDir answered that was not asked",
    )
    accepted = known.accepted | command.accepted
    publication = replace(
        known,
        accepted=accepted,
        refused=MappingProxyType(
            {hsdir: why for hsdir, why in command.refused.items() if hsdir not in accepted}
        ),
        finished_at=command.finished_at,
        refresh_at=command.refresh_at,
    )
    return _with_publication(state, command.service, publication)


def _publication(
    state: ClusterState, service: OnionAddress, period: TimePeriod, at: UnixMs
) -> Publication:
    """Find what is known of a blinded key, or begin with nothing and a full budget.

    A forgotten period must not come back: its floor is lost, so a revision could fall.
    """
    _require_service(state, service)
    known = state.publications.get((service, period.number))
    if known is not None:
        require(known.period == period, "that period has another length")
        return known
    require(
        not any(_is_past(period, other.period) for other in _of_service(state, service)),
        f"that period is more than {PERIODS_KEPT} below the newest",
    )
    return Publication(
        period=period, floor=RevisionCounter(0), budget=budget.initial(state.policy, at)
    )


def _with_publication(
    state: ClusterState, service: OnionAddress, publication: Publication
) -> ClusterState:
    """Enter a publication, and forget those of its service whose periods are long past."""
    newest = publication.period
    kept = {
        (address, number): other
        for (address, number), other in state.publications.items()
        if address != service or not _is_past(other.period, newest)
    }
    kept[service, newest.number] = publication
    return replace(state, publications=MappingProxyType(kept))


def _of_service(state: ClusterState, service: OnionAddress) -> list[Publication]:
    return [known for (address, _), known in state.publications.items() if address == service]


def _is_past(period: TimePeriod, newest: TimePeriod) -> bool:
    """Tell whether a period lies more than `PERIODS_KEPT` before another.

    In minutes since the first period, so that it holds across a change of `hsdir_interval` too.
    """
    oldest_start_min = (newest.number - PERIODS_KEPT) * newest.length_min
    return period.number * period.length_min < oldest_start_min


def _require_service(state: ClusterState, service: OnionAddress) -> None:
    require(service in state.services, "that service is not the cluster's")


def _require_step(known: Publication, revision: RevisionCounter) -> None:
    require(revision > known.floor, f"revision {revision} is not above the floor {known.floor}")
    require(
        revision <= known.floor + MAX_REVISION_STEP,
        f"revision {revision} is more than 2^34 above the floor {known.floor}",
    )


def _require_distinct(values: Collection[object], what: str) -> None:
    require(len(set(values)) == len(values), f"one {what} is named twice")
