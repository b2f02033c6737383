"""What the leader lets into the log: a node speaks for itself, and proves its points.

A leader that was deposed has its late commands refused here, before they take a place in the log.
A report of introduction points is accepted only with the signed descriptor they were read from:
its blinded key must belong to the service's address, so no node can put in points of its own
making without the master key. (With identity "shared" every serving node holds that key:
docs/architecture.md, "What a node could do".)
"""

from __future__ import annotations

from rbcluster.core.codec import decode_command
from rbcluster.core.commands import ReportIntroPoints
from rbcluster.core.ids import NodeId
from rbcluster.errors import CommandError, DescriptorError
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.descriptor import find_period, open_descriptor
from rbcluster.hs.time_period import TimePeriod


def refusal(
    sender: NodeId, data: bytes, *, myself: NodeId, consensus: ConsensusView | None
) -> str | None:
    """Say why a command may not enter the log; None if it may.

    :param sender: the node whose certificate the command came with.
    :param data: the command as proposed.
    :param myself: this node, which leads.
    :param consensus: this node's, whose periods a reported descriptor may be of.
    """
    try:
        command = decode_command(data)
    except CommandError as error:
        return str(error)
    if not isinstance(command, ReportIntroPoints):  # all else is the leader's, and its own to say
        return None if sender == myself else f"{sender} does not lead: only the leader may say that"
    if command.node != sender:
        return f"{sender} may not speak for {command.node}"
    if command.points:
        return _report_refusal(command, consensus)
    return None


def _report_refusal(command: ReportIntroPoints, consensus: ConsensusView | None) -> str | None:
    """Hold a report against the descriptor that comes with it."""
    if consensus is None:
        return "the leader has no consensus to verify a report against yet"
    try:
        period = find_period(command.descriptor, command.service, candidate_periods(consensus))
        descriptor = open_descriptor(command.descriptor, command.service, period)
    except DescriptorError as error:
        return f"the reported descriptor does not hold: {error}"
    if not set(command.points) <= set(descriptor.points):
        return "the report names introduction points that its descriptor does not list"
    if command.traits != descriptor.traits:
        return "the report's traits are not those of its descriptor"
    return None


def candidate_periods(consensus: ConsensusView) -> tuple[TimePeriod, ...]:
    """List the periods a node's current descriptor may be of, likeliest first."""
    period = TimePeriod.containing(consensus.valid_after, consensus.times)
    return period, period.previous(), period.next()
