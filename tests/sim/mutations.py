"""Mistakes made on purpose, one at a time, each of which the simulator must find.

Each takes one protection out of the product. Where another stands behind it, what is caught is the
first thing that the second does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from unittest import mock

from rbcluster.agent.office import OfficeKeeper
from rbcluster.agent.upload_round import UploadRoundRunner
from rbcluster.core import apply, budget, membership
from rbcluster.core.ids import NodeId
from rbcluster.core.rules import require
from rbcluster.core.state import Office
from rbcluster.raft.journal import Journal
from rbcluster.raft.pysyncobj_patch import Replica
from rbcluster.raft.pysyncobj_voters import VotersInPlace
from rbcluster.raft.roll import Roll, Standing

Mutation = Callable[[], AbstractContextManager[Any]]


def _anything(*_: object, **__: object) -> None:
    pass


def _always(*_: object, **__: object) -> bool:
    return True


def _never(*_: object, **__: object) -> bool:
    return False


def _nobody(*_: object, **__: object) -> tuple[()]:
    return ()


def fence_ignored() -> AbstractContextManager[Any]:
    """Let anyone reserve and withdraw, in office or not."""
    return mock.patch.object(apply, "require_office", _anything)


def term_ignored() -> AbstractContextManager[Any]:
    """Let a node act by an office that it held in an earlier term."""

    def require_node(state: Any, node: Any, _term: Any) -> None:
        require(state.office is not None and state.office.node == node, "not in office")

    return mock.patch.object(apply, "require_office", require_node)


def office_retaken() -> AbstractContextManager[Any]:
    """Let the office be taken in a term of long ago."""

    def take(state: Any, command: Any) -> Any:
        office = Office(node=command.node, term=command.term)
        return replace(state, office=office, transfer=None)

    return mock.patch.object(apply, "_take_office", take)


def floor_ignored() -> AbstractContextManager[Any]:
    """Let a revision be reserved that is not above what others reserved before."""
    return mock.patch.object(apply, "_require_step", _anything)


def sends_unasked() -> AbstractContextManager[Any]:
    """Upload without looking whether the reservation still stands."""
    return mock.patch.object(UploadRoundRunner, "_may_send", _always)


def points_unchecked() -> AbstractContextManager[Any]:
    """Reserve whatever points were on show when the reservation was written."""
    anything = mock.Mock(issuperset=_always)
    return mock.patch.object(apply, "_shown", return_value=anything)


def nobody_withdrawn() -> AbstractContextManager[Any]:
    """Leave silent nodes in the descriptors."""
    return mock.patch.object(OfficeKeeper, "_presence_changes", _nobody)


def budget_endless() -> AbstractContextManager[Any]:
    """Let every reservation have its token."""
    return mock.patch.object(budget, "_held", return_value=1_000_000)


def vote_forgotten() -> AbstractContextManager[Any]:
    """Keep term and vote in memory only."""

    def note(journal: Any, term: int, vote: str | None) -> None:
        journal._content.term, journal._content.vote = term, vote

    return mock.patch.object(Journal, "setCurrentTerm", note)


def entries_unsynced() -> AbstractContextManager[Any]:
    """Answer the leader before the entries are on the disk."""
    original = Replica._send

    def send(replica: Any, node: Any, message: Any) -> Any:
        with mock.patch.object(Journal, "flush", _anything):
            return original(replica, node, message)

    return mock.patch.object(Replica, "_send", send)


def votes_counted_twice() -> AbstractContextManager[Any]:
    """Count a vote as often as it comes."""
    return mock.patch.object(Replica, "_is_counted", _never)


def reset_voter_votes() -> AbstractContextManager[Any]:
    """Take a voter that lost its disk for the one it was; it votes, whatever it has forgotten."""

    def answer(replica: Any, node: Any, message: Any) -> None:
        if message["type"] == "request_vote" and not replica.configuration():
            replica._send(node, {"type": "response_vote", "term": message["term"]})
        receive(replica, node, message)

    def standing(roll: Roll, peer: Any, incarnation: Any) -> Standing:
        by_name = replace(
            roll,
            configuration=dict.fromkeys(roll.configuration),
            hint=replace(roll.hint, voters=dict.fromkeys(roll.hint.voters)),
        )
        return stand(by_name, peer, incarnation)

    def set_vote(replica: Any, voters: Any) -> None:
        own = NodeId(replica._parts.node.id)
        set_own_vote(replica, {own: None} if own in voters else {})

    receive, set_own_vote, stand = Replica.receive, VotersInPlace._set_vote, Roll.standing
    return _all(
        mock.patch.object(Replica, "receive", answer),
        mock.patch.object(VotersInPlace, "_set_vote", set_vote),
        mock.patch.object(Roll, "standing", standing),
        mock.patch.object(membership, "has_lost_storage", _never),
    )


def voters_by_apply() -> AbstractContextManager[Any]:
    """Let voters change when a command is applied, not when it stands in the log."""

    def last_applied(replica: Any) -> Any:
        log = replica._configurations
        log.last  # noqa: B018 - it reads the journal
        applied = [found for found in log._found if found[0] <= replica.raftLastApplied]
        return applied[-1] if applied else (0, replica._parts.base())

    def follow(replica: Any) -> None:
        voters = last_applied(replica)[1]
        if voters != replica._voters:
            replica._configure(voters)

    def tick_and_follow(replica: Any) -> None:
        tick(replica)
        replica._follow_configuration()

    def reason_against(replica: Any) -> str | None:
        found = replica._configurations.last
        is_pending = found is not None and found[0] > replica.raftLastApplied
        return "another is under way" if is_pending else reason(replica)

    tick, reason = Replica.tick, VotersInPlace.reason_against_reconfiguring
    return _all(
        mock.patch.object(VotersInPlace, "configured_at", lambda self: last_applied(self)[0]),
        mock.patch.object(VotersInPlace, "_follow_configuration", follow),
        mock.patch.object(VotersInPlace, "reason_against_reconfiguring", reason_against),
        mock.patch.object(Replica, "tick", tick_and_follow),
    )


def quorum_given_away() -> AbstractContextManager[Any]:
    """Take a vote away though no majority of the others is up."""
    return mock.patch.object(membership, "keeps_quorum", _always)


@contextmanager
def _all(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def unchanged() -> AbstractContextManager[Any]:
    """Leave the product as it is."""
    return nullcontext()


MUTATIONS: Mapping[str, Mutation] = MappingProxyType(
    {
        mutation.__name__: mutation
        for mutation in (
            fence_ignored,
            term_ignored,
            office_retaken,
            floor_ignored,
            sends_unasked,
            points_unchecked,
            nobody_withdrawn,
            budget_endless,
            vote_forgotten,
            entries_unsynced,
            votes_counted_twice,
            reset_voter_votes,
            voters_by_apply,
            quorum_given_away,
        )
    }
)
