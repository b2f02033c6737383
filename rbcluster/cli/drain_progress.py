"""How far a drain has come, read off the status document.

::

    PUBLISHING ── every responsible HSDir has the new descriptors ──> EMPTYING
    EMPTYING   ── the node says, later than that, that nobody is connected ──> DONE

Later than that: until then a visitor could still find the node. A visitor who fetched the old
descriptor before may still come afterwards; there is no telling who holds it.

Not here: asking, waiting, and giving up (`drain.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rbcluster.agent.status_document import NodeStatus, StatusDocument
from rbcluster.core.ids import NodeId
from rbcluster.errors import RbclusterError

_ROUNDING_S = 0.1  # of `last_contact_seconds`


class Phase(Enum):
    """What is still to come."""

    PUBLISHING = "publishing"
    EMPTYING = "emptying"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainProgress:
    """What is known of one node's drain."""

    phase: Phase = Phase.PUBLISHING
    visitors: int | None = None  # still connected; None: the node doesn't say
    published_at: float | None = None  # monotonic; since when no HSDir shows the node

    def after(self, document: StatusDocument, node: NodeId, now: float) -> DrainProgress:
        """Take in how the cluster is.

        :param now: monotonic seconds.
        :raises RbclusterError: if somebody undrained the node, or removed it.
        """
        status = _find(document, node)
        visitors = status["visitors"]
        if not all(service["published"] for service in document["services"]):
            return DrainProgress(visitors=visitors)
        published_at = now if self.published_at is None else self.published_at
        heard_s = status["last_contact_seconds"]
        is_later = heard_s is not None and now - heard_s > published_at + _ROUNDING_S
        phase = Phase.DONE if is_later and visitors == 0 else Phase.EMPTYING
        return DrainProgress(phase=phase, visitors=visitors, published_at=published_at)


def _find(document: StatusDocument, node: NodeId) -> NodeStatus:
    for status in document["nodes"]:
        if status["name"] == node.name and status["drained"]:
            return status
    raise RbclusterError(f"{node} is no longer drained: somebody undrained or removed it")
