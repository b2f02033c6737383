"""The status document: what one node knows of the whole cluster, without asking anyone.

A pure function of the replicated state, Raft's view and the heartbeats heard. It works on every
node, also without a leader; then it says what this node knew last. Schema: docs/status.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rbcluster.agent.clock import to_instant
from rbcluster.agent.drift import differences
from rbcluster.agent.heartbeat import Heartbeat
from rbcluster.agent.member_status import (
    certificate_problem,
    founding_notes,
    set_back_problem,
    voter_notes,
    wish_problem,
)
from rbcluster.agent.peers import PeerRecord
from rbcluster.agent.status_document import (
    BackendStatus,
    ClusterStatus,
    DescriptorStatus,
    Health,
    HsDirState,
    HsDirStatus,
    NodeState,
    NodeStatus,
    ServiceStatus,
    StatusDocument,
)
from rbcluster.core.codec import state_digest
from rbcluster.core.commands import SeedCluster
from rbcluster.core.decide import Wait, decide
from rbcluster.core.ids import NodeId, Term, UnixMs
from rbcluster.core.plan import WantedDescriptor
from rbcluster.core.state import (
    Backend,
    ClusterState,
    Member,
    Presence,
    Publication,
    PublicationKey,
    Role,
    Wish,
)
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.instants import Monotonic
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.view import RaftView
from rbcluster.raft.view import Role as RaftRole


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusInputs:
    """Everything the document is made from."""

    node: NodeId  # the one that answers
    state: ClusterState
    view: RaftView
    num_turned_away: Mapping[TurnedAway, int]
    has_consensus: bool
    wanted: tuple[WantedDescriptor, ...]
    own_heartbeat: Heartbeat
    own_clock_offset_ms: int
    peers: Mapping[NodeId, PeerRecord]
    exhausted: tuple[PublicationKey, ...]  # HSDirs refuse every revision (agent/revision_floor.py)
    now: Monotonic
    wall_ms: UnixMs
    seed: SeedCluster  # this node's cluster.toml: who should be there, until it is founded
    waits_for: Mapping[NodeId, str | None] = field(default_factory=dict)  # the leader's alone


def status_document(inputs: StatusInputs) -> StatusDocument:
    """Say everything this node knows."""
    members = tuple(inputs.state.members.values()) or inputs.seed.members
    nodes = [_node(inputs, member) for member in members]
    services = [_service(inputs, a, name) for a, name in inputs.state.services.items()]
    problems = [
        *_cluster_problems(inputs),
        *(problem for node in nodes for problem in _node_problems(node, inputs)),
        *_view_problems(inputs),
        *map(set_back_problem, sorted(inputs.view.set_back)),
        *_member_problems(inputs),
        *(problem for service in services for problem in _service_problems(service)),
        *(
            f"HSDirs refuse every revision of {address.shortened()}: something else publishes it; "
            "stop that"
            for address, _ in inputs.exhausted
        ),
    ]
    health: Health = "degraded" if problems else "healthy"
    return StatusDocument(
        cluster=_cluster(inputs),
        self=inputs.node.name,
        health="no-leader" if inputs.view.leader is None else health,
        problems=problems,
        nodes=nodes,
        services=services,
        turned_away={why.value: number for why, number in inputs.num_turned_away.items()},
        notes=[
            *voter_notes(inputs.view.voters),
            *founding_notes(_named_voters(inputs), inputs.view.voters),
        ],
    )


# --- the cluster


def _cluster(inputs: StatusInputs) -> ClusterStatus:
    view, voters = inputs.view, inputs.view.voters
    quorum = len(voters) // 2 + 1
    reachable = sum(1 for voter in voters if voter == inputs.node or voter in view.connected)
    return ClusterStatus(
        name=inputs.state.name or inputs.seed.name,
        leader=view.leader.name if view.leader else None,
        term=view.term,
        commit_index=view.commit_index,
        last_applied=view.last_applied,
        voters=[voter.name for voter in voters],
        quorum=quorum,
        has_quorum=view.has_quorum,
        failures_tolerated=max(0, reachable - quorum),
        maintenance_until=_iso(inputs.state.maintenance_until),
        state_digest=state_digest(inputs.state).hex(),
    )


def _named_voters(inputs: StatusInputs) -> list[NodeId]:
    return [member.node for member in inputs.seed.members if member.wish is Wish.VOTER]


def _cluster_problems(inputs: StatusInputs) -> Iterator[str]:
    if inputs.view.leader is None:
        yield "no leader: a majority of the voters must run and reach each other"
    elif not inputs.state.is_seeded:
        yield "the cluster is being founded"
    for difference in differences(inputs.seed, inputs.state):
        yield (
            f"cluster.toml of {inputs.node}: {difference}; the file only founds a cluster: "
            "mend it to match"
        )


def _view_problems(inputs: StatusInputs) -> Iterator[str]:
    """Say that this node can't tell what is wanted, unless a fault of its tor said why already."""
    if not inputs.has_consensus and not inputs.own_heartbeat.faults:
        yield f"{inputs.node}: its tor has no consensus yet, so this node can't tell what is wanted"


# --- nodes


def _node(inputs: StatusInputs, member: Member) -> NodeStatus:
    heartbeat, contact_s, offset_ms = _last_word(inputs, member.node)
    points = [
        point.auth_key
        for (_, node), report in inputs.state.pool.items()
        if node == member.node
        for point in report.points
    ]
    publications = (inputs.state.publications.get(wanted.key) for wanted in inputs.wanted)
    on_show = {
        key
        for publication in publications
        if publication and publication.reservation
        for key in publication.reservation.auth_keys
    }
    tor = heartbeat.tor if heartbeat else None
    return NodeStatus(
        name=member.node.name,
        address=member.address,
        role=member.role.value,
        state=_node_state(inputs, member, contact_s),
        drained=member.drained,
        visitors=heartbeat.visitors if heartbeat else None,
        intro_points=len(points),
        on_show=len(on_show.intersection(points)),
        last_contact_seconds=None if contact_s is None else round(contact_s, 1),
        can_publish=heartbeat.can_publish if heartbeat else None,
        faults=list(heartbeat.faults) if heartbeat else [],
        tor={
            "connected": bool(tor and tor.connected),
            "version": tor.version if tor else None,
            "bootstrapped": tor.bootstrapped if tor else None,
        },
        clock_offset_seconds=None if offset_ms is None else round(offset_ms / 1000, 1),
        version=heartbeat.version if heartbeat else None,
    )


def _last_word(
    inputs: StatusInputs, node: NodeId
) -> tuple[Heartbeat | None, float | None, int | None]:
    """Return a node's last heartbeat, its age in seconds, its clock's offset in milliseconds."""
    if node == inputs.node:
        return inputs.own_heartbeat, 0.0, inputs.own_clock_offset_ms
    record = inputs.peers.get(node)
    if record is None:
        return None, None, None
    offset_ms = inputs.own_clock_offset_ms + record.clock_offset_ms
    return record.heartbeat, inputs.now - record.heard_at, offset_ms


def _node_state(inputs: StatusInputs, member: Member, contact_s: float | None) -> NodeState:
    silent_ms = None if contact_s is None else 1000 * contact_s
    if member.presence is Presence.WITHDRAWN:
        return "withdrawn"
    is_linked = member.node == inputs.node or member.node in inputs.view.connected
    if not is_linked or silent_ms is None or silent_ms >= inputs.state.policy.withdraw_after_ms:
        return "unlinked" if _are_both_learners(inputs, member) else "unreachable"
    if member.node == inputs.view.leader:
        return "leader"
    if member.role is Role.LEARNER:
        return "learner"
    if member.node == inputs.node and inputs.view.role is RaftRole.CANDIDATE:
        return "candidate"
    return "follower"


def _are_both_learners(inputs: StatusInputs, other: Member) -> bool:
    """Tell whether this node never hears another by design: learners have links to voters only."""
    is_learner = inputs.view.role is RaftRole.LEARNER
    return is_learner and other.role is Role.LEARNER and other.node != inputs.node


def _node_problems(node: NodeStatus, inputs: StatusInputs) -> Iterator[str]:
    name = node["name"]
    if node["state"] == "withdrawn":
        yield f"{name} is silent and withdrawn from the descriptor: start it, or see its log"
    elif node["state"] == "unreachable":
        yield f"{name} does not answer: start it, or see its log"
    else:
        for fault in node["faults"]:
            yield f"{name} could not publish: {fault}"
        heartbeat, _, _ = _last_word(inputs, NodeId(name))
        for warning in heartbeat.tor.warnings if heartbeat else ():
            yield f"{name}: {warning}"
        backed = {service for service, _ in inputs.state.backends}  # nodes need not serve those
        for address, service in inputs.state.services.items():
            # Of a tor that does not answer, nothing else is to be expected.
            is_due = node["tor"]["connected"] and address not in backed
            if is_due and (address, NodeId(name)) not in inputs.state.pool:
                yield f"{name} has no introduction points for {service}: see its tor's log"


def _member_problems(inputs: StatusInputs) -> Iterator[str]:
    now = to_instant(inputs.wall_ms)
    for member in inputs.state.members.values():
        heartbeat, _, _ = _last_word(inputs, member.node)
        ends_at_ms = heartbeat.certificate_ends_at_ms if heartbeat else None
        ends_at = None if ends_at_ms is None else to_instant(ends_at_ms)
        for problem in (
            wish_problem(member, inputs.waits_for),
            certificate_problem(member.node, ends_at, now),
        ):
            if problem:
                yield problem


# --- services


def _service(inputs: StatusInputs, address: OnionAddress, name: str) -> ServiceStatus:
    descriptors = [_descriptor(inputs, w) for w in inputs.wanted if w.service == address]
    pool = [report for (service, _), report in inputs.state.pool.items() if service == address]
    backends = [_backend(a, b) for (s, a), b in inputs.state.backends.items() if s == address]
    return ServiceStatus(
        name=name,
        address=str(address),
        pool=sum(len(r.points) for r in pool) + sum(b["intro_points"] for b in backends),
        published=bool(descriptors) and all(map(_is_on_all_hsdirs, descriptors)),
        backends=backends,
        descriptors=descriptors,
    )


def _backend(address: OnionAddress, backend: Backend) -> BackendStatus:
    return BackendStatus(
        address=str(address),
        intro_points=len(backend.points),
        last_rise_at=_iso(backend.risen_at),
    )


def _is_on_all_hsdirs(descriptor: DescriptorStatus) -> bool:
    hsdirs = descriptor["hsdirs"]
    return bool(hsdirs) and all(hsdir["state"] == "accepted" for hsdir in hsdirs)


def _descriptor(inputs: StatusInputs, wanted: WantedDescriptor) -> DescriptorStatus:
    publication = inputs.state.publications.get(wanted.key)
    reservation = publication.reservation if publication else None
    return DescriptorStatus(
        slot=wanted.slot_time.slot.value,
        period=wanted.slot_time.period.number,
        revision=reservation.revision if reservation else None,
        intro_points=len(reservation.auth_keys) if reservation else 0,
        published_at=_iso(publication.finished_at if publication else None),
        next_refresh_at=_iso(publication.refresh_at if publication else None),
        next=_next(inputs, wanted, publication),
        hsdirs=[_hsdir(fingerprint, wanted, publication) for fingerprint in wanted.hsdirs],
    )


def _next(inputs: StatusInputs, wanted: WantedDescriptor, publication: Publication | None) -> str:
    """Say what the office holder will do about a descriptor, in its own words."""
    office = inputs.state.office
    decision = decide(
        wanted,
        publication,
        inputs.state.policy,
        term=office.term if office else Term(0),
        differs_since=inputs.wall_ms,
        now=inputs.wall_ms,
    )
    return decision.why if isinstance(decision, Wait) else f"due: {decision.reason.value}"


def _hsdir(
    fingerprint: Fingerprint, wanted: WantedDescriptor, publication: Publication | None
) -> HsDirStatus:
    """Say whether an HSDir holds what is wanted now, not just what was reserved last."""
    state: HsDirState = "pending"
    detail = publication.refused.get(fingerprint, "") if publication else ""
    if publication and fingerprint in publication.accepted:
        if _is_wanted(publication, wanted):
            state = "accepted"
        else:
            detail = "holds the descriptor before this one"
    elif detail:
        state = "failed"
    return HsDirStatus(fingerprint=str(fingerprint), state=state, detail=detail)


def _is_wanted(publication: Publication, wanted: WantedDescriptor) -> bool:
    last = publication.reservation
    return last is not None and last.digest == wanted.digest_for(last.hsdirs)


def _service_problems(service: ServiceStatus) -> Iterator[str]:
    for backend in service["backends"]:
        if not backend["intro_points"]:
            since = backend["last_rise_at"]
            found = f"published nothing new since {since}" if since else "was not found"
            yield f"{service['name']}: backend {backend['address']} {found}: is its tor running?"
    if not service["pool"]:
        yield f"{service['name']} has no introduction points: no node's tor holds a circuit for it"
        return  # so there is nothing to upload either
    for descriptor in service["descriptors"]:
        missing = [h for h in descriptor["hsdirs"] if h["state"] != "accepted"]
        if missing:
            yield (
                f"{service['name']}: {len(missing)} of {len(descriptor['hsdirs'])} HSDirs have not "
                f"accepted the {descriptor['slot']} descriptor ({descriptor['next']})"
            )


def _iso(at: UnixMs | None) -> str | None:
    return None if at is None else to_instant(at).isoformat(timespec="seconds")
