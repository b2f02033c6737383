"""The members: what may be asked for, and that no order of changes costs the quorum."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.core.apply import apply
from rbcluster.core.codec import encode_state
from rbcluster.core.commands import (
    AcceptInvitation,
    AddMember,
    Applied,
    ChangeRole,
    Command,
    DropMember,
    Invite,
    Refused,
    SeedCluster,
    SetAddress,
    SetWish,
)
from rbcluster.core.ids import UNDRAWN_CLUSTER_ID, ClusterId, Incarnation, NodeId, UnixMs
from rbcluster.core.membership import (
    HandOver,
    Members,
    Sight,
    has_lost_storage,
    keeps_quorum,
    next_step,
    obstacle,
    refusal_of,
    voters_of,
)
from rbcluster.core.state import (
    MAX_VOTERS,
    ClusterState,
    Invitation,
    Member,
    Policy,
    Presence,
    Role,
    Wish,
)
from tests.shared.builders import (
    ADA,
    BOB,
    CYD,
    EVE,
    FOUNDED,
    MALLORY,
    NODES,
    NOW,
    after,
    folded,
    point,
    report,
)

PROOF = b"s" * 32
DIGEST = hashlib.sha256(PROOF).digest()
INVITED = after(
    [Invite(digest=DIGEST, invitation=Invitation(expires_at=UnixMs(NOW + 1000), role=Wish.VOTER))],
    FOUNDED,
)


def disk(number: int) -> Incarnation:
    return Incarnation(number.to_bytes(16))


def add(node: NodeId = MALLORY, address: str = "mallory:1", wish: Wish = Wish.VOTER) -> AddMember:
    return AddMember(node=node, address=address, wish=wish, weight=1)


def accept(
    node: NodeId = MALLORY, *, proof: bytes = PROOF, at: int = NOW, address: str = "mallory:1"
) -> AcceptInvitation:
    return AcceptInvitation(proof=proof, node=node, address=address, at=UnixMs(at))


def promote(node: NodeId, number: int = 1) -> ChangeRole:
    return ChangeRole(node=node, role=Role.VOTER, incarnation=disk(number))


def demote(node: NodeId) -> ChangeRole:
    return ChangeRole(node=node, role=Role.LEARNER, incarnation=None)


def test_a_new_member_begins_as_a_learner_without_introduction_points() -> None:
    state = after([add()], FOUNDED)
    assert state.members[MALLORY] == Member(
        node=MALLORY,
        address="mallory:1",
        role=Role.LEARNER,
        wish=Wish.VOTER,
        presence=Presence.WITHDRAWN,
    )
    assert after([add()], state) is state  # said again


def test_a_new_voter_is_bound_to_its_storage_and_a_demoted_one_to_none() -> None:
    state = after([promote(EVE, 7)], FOUNDED)
    assert voters_of(state.members)[EVE] == disk(7)
    assert voters_of(after([demote(EVE)], state).members).keys() == set(NODES)


def test_a_dropped_member_leaves_nothing_behind_however_often_it_comes() -> None:
    one = len(encode_state(after([DropMember(node=EVE)], FOUNDED)))
    state = FOUNDED
    for number in range(100):
        node = NodeId(f"guest-{number}")
        state = after([add(node), report(node, point(1)), DropMember(node=node)], state)
    state = after([report(EVE, point(1)), DropMember(node=EVE)], state)
    assert EVE not in state.members
    assert not state.pool
    assert len(encode_state(state)) == one


def test_a_token_lets_one_node_in_once() -> None:
    state = after([accept()], INVITED)
    assert state.members[MALLORY].wish is Wish.VOTER
    assert not state.invitations
    assert apply(state, accept(NodeId("other"), address="other:1"))[1] == Refused(
        "that token is unknown, or was used already"
    )


def test_what_the_log_holds_of_a_token_lets_nobody_in() -> None:
    assert isinstance(apply(INVITED, accept(proof=DIGEST))[1], Refused)


def test_a_token_that_could_not_be_used_is_not_spent() -> None:
    state = folded([accept(BOB), accept(address="127.0.0.1:7000")], INVITED)
    assert state is INVITED


def test_invitations_long_over_are_forgotten() -> None:
    later = Invitation(expires_at=UnixMs(NOW + 10 * 86_400_000), role=Wish.LEARNER)
    state = after([Invite(digest=bytes(32), invitation=later)], INVITED)
    assert state.invitations.keys() == {bytes(32)}


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (add(BOB), "bob is a member already"),
        (add(address="127.0.0.1:7000"), "127.0.0.1:7000 is the address of ada"),
        (add(wish=Wish.GONE), "a new member is to be a voter or a learner"),
        (SetWish(node=MALLORY, wish=Wish.VOTER), "mallory is no member"),
        (SetAddress(node=MALLORY, address="x:1"), "mallory is no member"),
        (SetAddress(node=BOB, address="127.0.0.1:7000"), "127.0.0.1:7000 is the address of ada"),
        (promote(BOB), "bob votes already"),
        (replace(promote(EVE), incarnation=None), "a voter has a storage"),
        (demote(EVE), "eve has no vote"),
        (DropMember(node=BOB), "bob has a vote"),
        (accept(), "that token is unknown, or was used already"),
        (
            Invite(digest=DIGEST, invitation=Invitation(expires_at=NOW, role=Wish.GONE)),
            "nobody is invited to be gone",
        ),
    ],
)
def test_refused(command: Command, rule: str) -> None:
    assert apply(FOUNDED, command) == (FOUNDED, Refused(rule))


@pytest.mark.parametrize("at", [NOW + 1000, NOW + 1001])
def test_an_expired_token_is_refused(at: int) -> None:
    assert apply(INVITED, accept(at=at))[1] == Refused("that token has expired")
    assert apply(INVITED, accept(at=NOW + 999))[1] == Applied()


def test_the_last_voter_keeps_its_vote() -> None:
    alone = after([demote(BOB), demote(CYD)], FOUNDED)
    assert apply(alone, demote(ADA))[1] == Refused("ada is the only voter")
    wished = after([SetWish(node=n, wish=Wish.LEARNER) for n in (BOB, CYD, EVE)], FOUNDED)
    assert apply(wished, SetWish(node=ADA, wish=Wish.GONE))[1] == Refused(
        "ada is the only voter: promote another first"
    )


def test_there_are_at_most_seven_voters() -> None:
    names = [NodeId(f"n{number}") for number in range(MAX_VOTERS - 3)]
    state = after([SetWish(node=EVE, wish=Wish.LEARNER)], FOUNDED)
    state = after([add(name, f"{name}:1") for name in names], state)
    for command in (add(), SetWish(node=EVE, wish=Wish.VOTER)):
        assert apply(state, command)[1] == Refused(
            "a cluster has at most 7 voters: demote one first, or let this be a learner"
        )
    full = after([promote(name) for name in names], state)
    assert apply(full, promote(EVE))[1] == Refused("a cluster has at most 7 voters")


def test_who_is_being_removed_stays_so() -> None:
    state = after([SetWish(node=EVE, wish=Wish.GONE)], FOUNDED)
    assert apply(state, SetWish(node=EVE, wish=Wish.VOTER))[1] == Refused("eve is being removed")


def test_an_address_changes_and_an_id_does_not() -> None:
    state = after([SetAddress(node=BOB, address="[2001:db8::2]:7300")], FOUNDED)
    assert state.members[BOB] == replace(FOUNDED.members[BOB], address="[2001:db8::2]:7300")
    assert apply(state, SetAddress(node=BOB, address="[2001:db8::2]:7300"))[0] is state


# --- what the leader does about wishes


def members(**roles: tuple[Role, Wish]) -> Members:
    return {
        NodeId(name): Member(
            node=NodeId(name),
            address=f"{name}:1",
            role=role,
            wish=wish,
            incarnation=disk(1) if role is Role.VOTER else None,
        )
        for name, (role, wish) in roles.items()
    }


VOTER, LEARNER = (Role.VOTER, Wish.VOTER), (Role.LEARNER, Wish.LEARNER)
TO_VOTE, TO_LEARN, TO_GO = (
    (Role.LEARNER, Wish.VOTER),
    (Role.VOTER, Wish.LEARNER),
    (Role.VOTER, Wish.GONE),
)
A, B, C, D = map(NodeId, "abcd")


def sight(*linked: NodeId, lost: Sequence[NodeId] = (), **other: object) -> Sight:
    seen = Sight(
        myself=A,
        linked={node: disk(2 if node in lost else 1) for node in (A, *linked)},
        caught_up=linked,
        keyless=(),
    )
    return replace(seen, **other)  # type: ignore[arg-type]


def test_all_as_wished_needs_no_step() -> None:
    assert next_step(members(a=VOTER, b=VOTER, c=LEARNER), sight(B, C)) is None


def test_a_learner_that_has_caught_up_is_given_the_vote_of_its_storage() -> None:
    step = next_step(members(a=VOTER, b=TO_VOTE), sight(B))
    assert step == promote(B)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (sight(), "b can't be reached: start it, or see its log"),
        (sight(B, caught_up=()), "b has not caught up yet"),
        (
            sight(B, keyless=(B,)),
            (
                "b has no usable master key, so it could not publish when it leads: "
                "copy the services' key directories there"
            ),
        ),
    ],
)
def test_a_learner_waits_for_its_vote(seen: Sight, why: str) -> None:
    waiting = members(a=VOTER, b=TO_VOTE)
    assert next_step(waiting, seen) is None
    assert obstacle(waiting[B], waiting, seen) == why


def test_an_eighth_voter_waits_and_so_does_the_end_of_the_only_one() -> None:
    seven = {f"v{number}": VOTER for number in range(MAX_VOTERS - 1)}
    full = members(a=VOTER, b=TO_VOTE, **seven)
    assert str(obstacle(full[B], full, sight(B))).startswith("there are 7 voters already")
    sole = members(a=TO_GO)
    assert obstacle(sole[A], sole, sight()) == "a is the only voter: promote another first"


@pytest.mark.parametrize("node", [A, MALLORY])
def test_a_wish_that_changes_nothing_is_for_the_state_machine_to_answer(node: NodeId) -> None:
    assert refusal_of(SetWish(node=node, wish=Wish.VOTER), members(a=VOTER), sight()) is None


def test_a_voter_whose_disk_is_lost_loses_its_vote_before_all_else() -> None:
    three = members(a=VOTER, b=VOTER, c=VOTER, d=TO_VOTE)
    assert next_step(three, sight(B, C, D, lost=[C])) == demote(C)


def test_a_voter_is_not_demoted_when_the_rest_would_have_no_majority() -> None:
    three = members(a=VOTER, b=TO_GO, c=VOTER)
    assert next_step(three, sight(B)) is None
    assert obstacle(three[B], three, sight(B)) == (
        "without b, no majority of the voters a, c would be up: start those that are down first"
    )
    assert next_step(three, sight(B, C)) == demote(B)


def test_a_dead_voter_can_be_demoted_and_then_dropped() -> None:
    assert next_step(members(a=VOTER, b=VOTER, c=TO_GO), sight(B)) == demote(C)
    gone = members(a=VOTER, b=VOTER, c=(Role.LEARNER, Wish.GONE))
    assert next_step(gone, sight(B)) == DropMember(node=C)


def test_a_leader_that_is_to_lose_its_vote_hands_over_first() -> None:
    assert next_step(members(a=TO_LEARN, b=VOTER), sight(B)) == HandOver()


def test_a_majority_counts_no_voter_whose_storage_is_another() -> None:
    three = members(a=VOTER, b=VOTER, c=VOTER, d=TO_VOTE)
    seen = sight(B, C, D, lost=[B, C])
    assert has_lost_storage(three[B], seen.linked)
    assert next_step(three, seen) is None  # a alone is no majority of a, c nor of a, b, c, d
    assert keeps_quorum([A, B, C], [A, C])
    assert not keeps_quorum([A, B], [A])


# --- any sequence of wishes, deaths and lost disks


@dataclass
class Model:
    """A cluster whose leader does one step at a time; `alive` changes between, within limits."""

    state: ClusterState
    disks: dict[NodeId, int] = field(default_factory=dict)
    alive: set[NodeId] = field(default_factory=set)

    def sight(self, leader: NodeId) -> Sight:
        linked = {node: disk(self.disks[node]) for node in self.alive}
        return Sight(myself=leader, linked=linked, caught_up=self.alive, keyless=())

    def electors(self) -> list[NodeId]:
        """The voters that are alive with the storage that may vote."""
        voters = voters_of(self.state.members)
        return [n for n in sorted(voters) if n in self.alive and voters[n] == disk(self.disks[n])]

    def has_quorum(self) -> bool:
        return keeps_quorum(voters_of(self.state.members), self.electors())

    def settle(self) -> None:
        """Let leaders do all they want; each change is of one voter and leaves a quorum."""
        leader = self.electors()[0]
        for _ in range(50):
            step = next_step(self.state.members, self.sight(leader))
            if step is None:
                return
            if isinstance(step, HandOver):
                leader = next(node for node in self.electors() if node != leader)
                continue
            before = voters_of(self.state.members)
            self.state = after([step], self.state)  # it is never refused
            changed = before.items() ^ voters_of(self.state.members).items()
            assert len(changed) <= 1
            assert self.has_quorum()
            assert leader in self.electors()
        raise AssertionError("the leader never comes to an end")


POOL = tuple(NodeId(name) for name in "abcdefghij")
MOVES = st.tuples(
    st.sampled_from(["add", "voter", "learner", "gone", "die", "rise", "wipe"]),
    st.sampled_from(POOL),
)


def founded_by_one() -> Model:
    founder = Member(node=A, address="a:1", incarnation=disk(1))
    seed = SeedCluster(name="x", members=(founder,), services={}, policy=Policy())
    return Model(after([seed]), dict.fromkeys(POOL, 1), {A})


@given(st.lists(MOVES, max_size=60))
def test_no_sequence_of_changes_costs_the_quorum(moves: list[tuple[str, NodeId]]) -> None:
    model = founded_by_one()
    for what, node in moves:
        alive, disks = set(model.alive), dict(model.disks)
        match what:
            case "add":
                model.state = folded([add(node, f"{node}:1")], model.state)
                model.alive.add(node)
            case "die":
                model.alive.discard(node)
            case "rise":
                model.alive.add(node)
            case "wipe":
                model.disks[node] += 1
            case wish:
                model.state = folded([SetWish(node=node, wish=Wish(wish))], model.state)
        if not model.has_quorum():  # a fault that no cluster survives: it does not happen here
            model.alive, model.disks = alive, disks
        model.settle()
        assert 1 <= len(voters_of(model.state.members)) <= MAX_VOTERS


@given(st.lists(MOVES, max_size=40))
def test_every_wish_comes_true_once_all_are_up(moves: list[tuple[str, NodeId]]) -> None:
    model = founded_by_one()
    for what, node in moves:
        if what == "add":
            model.state = folded([add(node, f"{node}:1")], model.state)
        elif what in {"voter", "learner", "gone"}:
            model.state = folded([SetWish(node=node, wish=Wish(what))], model.state)
    model.alive = set(POOL)
    model.settle()
    for member in model.state.members.values():
        assert member.role.value == member.wish.value


def test_a_cluster_has_the_id_it_was_founded_with_or_none() -> None:
    seed = SeedCluster(
        name="x", members=(Member(node=A, address="a:1"),), services={}, policy=Policy()
    )
    drawn = ClusterId(b"d" * 16)
    assert after([replace(seed, cluster_id=drawn)]).cluster_id == drawn
    assert after([seed]).cluster_id == UNDRAWN_CLUSTER_ID
