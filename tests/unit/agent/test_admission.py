"""What the leader lets into the log: who may say what, and points only with a real descriptor."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest

from rbcluster.agent.admission import refusal
from rbcluster.core.codec import encode_command
from rbcluster.core.commands import (
    AcceptInvitation,
    AddMember,
    ChangeRole,
    Command,
    DropMember,
    Invite,
    RaiseSchema,
    ReportIntroPoints,
    SetAddress,
    SetWish,
)
from rbcluster.core.ids import Incarnation, NodeId, Term, UnixMs
from rbcluster.core.membership import Sight
from rbcluster.core.state import Invitation, Presence, Role, Wish
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod
from tests.shared import builders
from tests.unit.agent.world import ADA, BOB, CYD, MASTER, SITE, START, TIMES, consensus, point

VIEW = consensus()
NOW = TimePeriod.containing(START, TIMES)
STRANGER = IdentityKeypair.from_seed(bytes([9]) * 32)


def descriptor(*numbers: int, master: IdentityKeypair = MASTER, period: TimePeriod = NOW) -> bytes:
    content = DescriptorContent(
        identity=master.public,
        period=period,
        keypair=derive_blinded_keypair(master, period),
        revision=RevisionCounter(1),
        points=tuple(map(point, numbers)),
        traits=ServiceTraits(),
    )
    return build_descriptor(content, START, bytes)


GOOD = ReportIntroPoints(
    node=BOB,
    service=SITE,
    origin=SITE,
    points=(point(1), point(2)),
    traits=ServiceTraits(),
    descriptor=descriptor(1, 2, 3),
    reported_at=UnixMs(0),
)


SIGHT = Sight(  # bob is down
    myself=ADA,
    linked=dict.fromkeys((ADA, CYD, builders.EVE), Incarnation(bytes(16))),
    caught_up=(),
    keyless=(builders.EVE,),
)


def verdict(
    command: Command, sender: NodeId = BOB, view: ConsensusView | None = VIEW
) -> str | None:
    """What ada, who leads, says to a command."""
    return look_at(encode_command(command), sender, view)


def look_at(data: bytes, sender: NodeId = BOB, view: ConsensusView | None = VIEW) -> str | None:
    return refusal(
        sender,
        data,
        myself=ADA,
        members=builders.FOUNDED.members,
        consensus=view,
        sight=lambda: SIGHT,
    )


def test_points_that_a_descriptor_of_the_service_lists_are_let_in() -> None:
    assert verdict(GOOD) is None


def test_node_may_report_only_some_of_its_descriptors_points() -> None:
    assert verdict(replace(GOOD, points=(point(3),))) is None


@pytest.mark.parametrize("period", [NOW.previous(), NOW.next()])
def test_neighbouring_periods_count_for_nodes_change_them_at_different_moments(
    period: TimePeriod,
) -> None:
    assert verdict(replace(GOOD, descriptor=descriptor(1, 2, period=period))) is None


def test_report_without_points_needs_no_proof() -> None:
    assert verdict(replace(GOOD, points=(), descriptor=b""), view=None) is None


@pytest.mark.parametrize("points", [GOOD.points, ()])
@pytest.mark.parametrize("sender", [CYD, ADA])
def test_node_speaks_for_itself_only_and_so_does_the_leader(
    sender: NodeId, points: tuple[IntroPoint, ...]
) -> None:
    said = replace(GOOD, points=points)
    assert verdict(said, sender=sender) == f"{sender} may not speak for bob"


def test_descriptor_of_another_service_proves_nothing() -> None:
    foreign = replace(GOOD, descriptor=descriptor(1, 2, master=STRANGER))
    assert "the reported descriptor does not hold" in str(verdict(foreign))


def test_descriptor_does_not_prove_points_of_another_service() -> None:
    address = OnionAddress(STRANGER.public)
    other = replace(GOOD, service=address, origin=address)
    assert "the reported descriptor does not hold" in str(verdict(other))


def test_points_that_the_descriptor_does_not_list_are_refused() -> None:
    made_up = replace(GOOD, points=(point(1), point(4)))
    assert "points that its descriptor does not list" in str(verdict(made_up))


def test_point_with_another_key_is_another_point() -> None:
    forged = replace(point(1), enc_key=point(4).enc_key)
    assert "does not list" in str(verdict(replace(GOOD, points=(forged,))))


def test_traits_must_be_those_of_the_descriptor() -> None:
    single_hop = replace(GOOD, traits=ServiceTraits(single_onion_service=True))
    assert verdict(single_hop) == "the report's traits are not those of its descriptor"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"hs-descriptor 3\n",
        GOOD.descriptor[:2_000],
        GOOD.descriptor.replace(b"revision-counter 1\n", b"revision-counter 2\n"),
        descriptor(1, 2, period=NOW.next().next()),
    ],
    ids=["empty", "one line", "cut", "altered", "of a far period"],
)
def test_descriptor_that_does_not_hold_is_refused(document: bytes) -> None:
    answer = verdict(replace(GOOD, descriptor=document))
    assert answer is not None
    assert answer.startswith("the reported descriptor does not hold: ")


def test_leader_without_a_consensus_lets_no_points_in() -> None:
    assert "no consensus to verify a report against" in str(verdict(GOOD, view=None))


@pytest.mark.parametrize("data", [b"", b"no command", b"\xc1", b"\x93\xcc\xff\xa1x\x90"])
def test_bytes_that_are_no_command_are_refused(data: bytes) -> None:
    assert look_at(data)


DECISIONS = (builders.order_transfer(), builders.drain(), builders.maintenance())
ABOUT_MEMBERS: tuple[Command, ...] = (
    SetAddress(node=CYD, address="x:1"),
    SetWish(node=builders.EVE, wish=Wish.GONE),
    SetWish(node=BOB, wish=Wish.GONE),  # it is down: two of the other two are up
    AddMember(node=NodeId("new"), address="n:1", wish=Wish.VOTER, weight=1),
    Invite(digest=bytes(32), invitation=Invitation(expires_at=UnixMs(1), role=Wish.VOTER)),
)
TOKEN = AcceptInvitation(proof=bytes(32), node=NodeId("new"), address="n:1", at=UnixMs(1))
NEVER_PLAIN: tuple[Command, ...] = (
    builders.SEED,
    ChangeRole(node=BOB, role=Role.LEARNER, incarnation=None),
    DropMember(node=BOB),
)
ONLY_A_LEADERS: tuple[Command, ...] = (
    builders.take_office(BOB, 2**62),
    builders.set_presence(CYD, Presence.WITHDRAWN, office_node=BOB),
    builders.raise_floor(7, node=BOB),
    builders.record_round(7, node=BOB),
    builders.reserve(7, node=BOB),
    builders.report_backend(7, node=BOB),
    builders.end_transfer(BOB),
    builders.end_maintenance(node=BOB),
    RaiseSchema(version=2, office_node=BOB, office_term=Term(1)),
)


def test_every_kind_of_command_is_somebodys_to_say() -> None:
    """A new kind belongs into `refusal`, where mypy asks for it, and into the tests here."""
    said = (GOOD, TOKEN, *DECISIONS, *ABOUT_MEMBERS, *NEVER_PLAIN, *ONLY_A_LEADERS)
    assert {type(command) for command in said} == set(get_args(Command))


@pytest.mark.parametrize("command", ONLY_A_LEADERS, ids=lambda command: type(command).__name__)
def test_what_only_a_leader_may_say_is_taken_from_nobody_else(command: Command) -> None:
    assert verdict(command, sender=BOB) == "bob does not lead: only the leader may say that"
    assert verdict(command, sender=ADA) is None


@pytest.mark.parametrize("command", DECISIONS, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("sender", [ADA, BOB, CYD])
def test_operator_may_decide_by_way_of_any_voter(sender: NodeId, command: Command) -> None:
    assert verdict(command, sender=sender) is None


@pytest.mark.parametrize("command", DECISIONS, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("sender", [builders.EVE, builders.MALLORY])
def test_operator_on_a_node_that_could_never_lead_is_sent_to_a_voter(
    sender: NodeId, command: Command
) -> None:
    assert verdict(command, sender=sender) == (
        f"{sender} has no vote, so it may not pass on such a request: ask on ada, bob, cyd"
    )


def test_learner_may_be_drained_by_its_own_operator() -> None:
    assert verdict(builders.drain(builders.EVE), sender=builders.EVE) is None
    assert verdict(builders.drain(builders.MALLORY), sender=builders.MALLORY) is not None


def test_leader_may_report_points_of_its_own() -> None:
    assert verdict(replace(GOOD, node=ADA), sender=ADA) is None


def test_candidate_periods_follow_the_consensus_and_not_the_clock() -> None:
    later = consensus(START.replace(minute=0) + timedelta(days=5))
    current, before, after = later.candidate_periods
    assert current.number == NOW.number + 5
    assert (before, after) == (current.previous(), current.next())


def test_node_with_a_key_of_its_own_proves_its_points_by_that() -> None:
    own = OnionAddress(STRANGER.public)
    instance = replace(GOOD, origin=own, descriptor=descriptor(1, 2, master=STRANGER))
    assert verdict(instance) is None
    assert "the reported descriptor does not hold" in str(verdict(replace(GOOD, origin=own)))


def wish(node: NodeId, what: Wish) -> SetWish:
    return SetWish(node=node, wish=what)


@pytest.mark.parametrize("command", ABOUT_MEMBERS, ids=lambda command: type(command).__name__)
def test_voter_may_pass_on_what_an_operator_wants_of_the_members(command: Command) -> None:
    assert verdict(command, sender=ADA) is None
    assert "eve has no vote" in str(verdict(command, sender=builders.EVE))


def test_a_wish_that_would_cost_the_quorum_is_not_even_taken_down() -> None:
    for what in (Wish.LEARNER, Wish.GONE):
        refused = verdict(wish(CYD, what))
        assert refused == (
            "without cyd, no majority of the voters ada, bob would be up: "
            "start those that are down first"
        )


def test_who_is_to_go_is_not_asked_to_see_it_done() -> None:
    refused = verdict(wish(BOB, Wish.GONE), sender=BOB)
    assert refused == "bob could not see its own removal done: ask on another node"
    assert verdict(wish(BOB, Wish.LEARNER), sender=BOB) is None


def test_a_node_that_said_it_has_no_key_is_not_promoted() -> None:
    members = {
        **builders.FOUNDED.members,
        builders.EVE: replace(builders.FOUNDED.members[builders.EVE], wish=Wish.LEARNER),
    }
    said = refusal(
        ADA,
        encode_command(wish(builders.EVE, Wish.VOTER)),
        myself=ADA,
        members=members,
        consensus=VIEW,
        sight=lambda: SIGHT,
    )
    assert said is not None
    assert "eve has no usable master key" in said


@pytest.mark.parametrize("command", NEVER_PLAIN, ids=lambda command: type(command).__name__)
def test_nobody_changes_the_voters_by_a_plain_command(command: Command) -> None:
    for sender in (ADA, BOB):
        assert (
            verdict(command, sender) == "who belongs to the cluster is changed by its leader alone"
        )


def test_whoever_knows_a_token_may_spend_it() -> None:
    assert verdict(TOKEN, builders.EVE) is None
