"""When a drain is done: every HSDir has the new descriptor, and later nobody is connected."""

from __future__ import annotations

import pytest

from rbcluster.agent.status_document import StatusDocument
from rbcluster.cli.drain_progress import DrainProgress, Phase
from rbcluster.core.ids import NodeId
from rbcluster.errors import RbclusterError

C = NodeId("c")


@pytest.fixture(name="document")
def make_document(healthy: StatusDocument) -> StatusDocument:
    """Node c is drained, was heard 0.4 s ago, and every HSDir has what it should."""
    healthy["nodes"][2]["drained"] = True
    return healthy


def test_before_every_hsdir_has_it_nothing_else_counts(document: StatusDocument) -> None:
    document["services"][0]["published"] = False
    progress = DrainProgress().after(document, C, 10)
    assert (progress.phase, progress.published_at) == (Phase.PUBLISHING, None)


def test_without_visitors_it_is_done_once_the_node_has_said_so_afterwards(
    document: StatusDocument,
) -> None:
    progress = DrainProgress().after(document, C, 10)
    assert progress.phase is Phase.EMPTYING
    assert progress.after(document, C, 10.4).phase is Phase.EMPTYING
    assert progress.after(document, C, 10.6).phase is Phase.DONE


def test_node_that_answers_for_itself_has_said_so_at_once(document: StatusDocument) -> None:
    document["nodes"][2]["last_contact_seconds"] = 0
    progress = DrainProgress().after(document, C, 10)
    assert progress.phase is Phase.EMPTYING
    assert progress.after(document, C, 10.2).phase is Phase.DONE


@pytest.mark.parametrize("visitors", [2, None])
def test_while_visitors_are_connected_or_not_known_it_goes_on(
    document: StatusDocument, visitors: int | None
) -> None:
    document["nodes"][2]["visitors"] = visitors
    progress = DrainProgress().after(document, C, 10).after(document, C, 99)
    assert (progress.phase, progress.visitors) == (Phase.EMPTYING, visitors)


def test_node_that_was_never_heard_is_not_known_to_be_empty(document: StatusDocument) -> None:
    document["nodes"][2]["last_contact_seconds"] = None
    assert DrainProgress().after(document, C, 10).after(document, C, 99).phase is Phase.EMPTYING


def test_descriptor_that_is_renewed_meanwhile_begins_it_anew(document: StatusDocument) -> None:
    progress = DrainProgress().after(document, C, 10)
    document["services"][0]["published"] = False
    progress = progress.after(document, C, 11)
    assert progress.phase is Phase.PUBLISHING
    document["services"][0]["published"] = True
    assert progress.after(document, C, 12).published_at == 12


def test_drain_that_somebody_else_ended_is_an_error(document: StatusDocument) -> None:
    with pytest.raises(RbclusterError, match="a is no longer drained: somebody undrained"):
        DrainProgress().after(document, NodeId("a"), 10)
    with pytest.raises(RbclusterError, match="x is no longer drained"):
        DrainProgress().after(document, NodeId("x"), 10)
