"""Care of a cluster that many tests share: mend it, wait until it is quiet, read its logs."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rbcluster.agent.status_document import NodeStatus, StatusDocument
from rbcluster.api.client import NoDaemon
from rbcluster.lab.cluster import LabCluster, is_served
from rbcluster.lab.waiting import wait_for
from tests.e2e.witness import Witness

_MEND_LIMIT_S = 120.0
_CALM_LIMIT_S = 180.0
_ROTATIONS_APART_S = 12.0  # tors get a consensus within one voting interval (10 s) of each other
_ROTATED_AFTER_S = 30.0  # ... and all have it, and have exchanged their points, by then
_CHANGES_APART_S = 5.0  # else a change is over when new points have been read, 3 s after the first
_COMMAND_LIMIT_S = 30.0
_INFO = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ")
_TOR_BUGS = ("Could not get valid INTRO2 keys", "Bug: ")


def node_of(document: StatusDocument, name: str) -> NodeStatus:
    return next(node for node in document["nodes"] if node["name"] == name)


def leader_of(document: StatusDocument) -> str:
    leader = document["cluster"]["leader"]
    assert leader is not None, document["problems"]
    return leader


def revisions_of(document: StatusDocument) -> dict[int, int]:
    """List the last revision of each time period's descriptor."""
    return {
        descriptor["period"]: descriptor["revision"]
        for service in document["services"]
        for descriptor in service["descriptors"]
        if descriptor["revision"] is not None
    }


async def mend(cluster: LabCluster) -> StatusDocument:
    """Undo what a test left behind, and wait until all nodes serve."""
    for node in cluster.nodes.values():
        node.signal_tor(signal.SIGCONT)
        node.start()
    return await cluster.wait_until(is_served, "a healthy cluster", _MEND_LIMIT_S)


async def agreement(cluster: LabCluster) -> StatusDocument:
    """Wait until every node reports the same healthy state, byte for byte."""

    async def look() -> StatusDocument | None:
        try:
            documents = [await cluster.status(name) for name in cluster.nodes]
        except NoDaemon:
            return None
        digests = {document["cluster"]["state_digest"] for document in documents}
        return documents[0] if len(digests) == 1 and all(map(is_served, documents)) else None

    return await wait_for(look, "one state on all nodes", _MEND_LIMIT_S)


def is_settled(document: StatusDocument, for_s: float) -> bool:
    """Tell whether no descriptor is so new that what has changed may go on changing."""
    published = [
        descriptor["published_at"]
        for service in document["services"]
        for descriptor in service["descriptors"]
    ]
    latest = datetime.now(UTC) - timedelta(seconds=for_s)
    return all(at is not None and datetime.fromisoformat(at) <= latest for at in published)


async def calm(cluster: LabCluster, witness: Witness, for_s: float) -> StatusDocument:
    """Wait until all nodes agree, the last change is over, and none will come by itself."""

    async def look() -> StatusDocument | None:
        if await witness.calm_s() < for_s:
            return None
        document = await agreement(cluster)
        is_rotated = await witness.rotated_s() > _ROTATED_AFTER_S
        apart_s = _CHANGES_APART_S if is_rotated else _ROTATIONS_APART_S
        is_calm = is_settled(document, apart_s) and await witness.calm_s() >= for_s
        return document if is_calm else None

    return await wait_for(look, f"{for_s:g} s of calm", _CALM_LIMIT_S)


async def run(*command: str) -> tuple[int, str]:
    """Run a command to its end.

    :returns: its exit code, and what it printed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(_COMMAND_LIMIT_S):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


class LogWatch:
    """What nodes and their tors log from its making on."""

    def __init__(self, cluster: LabCluster) -> None:
        self._cluster = cluster
        self._read_until = self._lengths()
        self._expected: list[re.Pattern[str]] = []

    def _lengths(self) -> Mapping[str, tuple[int, int]]:
        nodes = self._cluster.nodes.values()
        return {n.name: (len(n.log_text()), len(n.tor_log_text())) for n in nodes}

    def expect(self, *patterns: str) -> None:
        """Take lines that match one of these regular expressions for no finding."""
        self._expected += map(re.compile, patterns)

    def findings(self) -> list[str]:
        """List what nobody expected: lines of nodes above INFO, and signs of bugs in tor's."""
        found: list[str] = []
        for node in self._cluster.nodes.values():
            seen, seen_of_tor = self._read_until[node.name]
            lines = [line for line in node.log_text()[seen:].splitlines() if not _INFO.match(line)]
            lines += [
                line
                for line in node.tor_log_text()[seen_of_tor:].splitlines()
                if any(bug in line for bug in _TOR_BUGS)
            ]
            found += [
                f"{node.name}: {line}"
                for line in lines
                if not any(expected.search(line) for expected in self._expected)
            ]
        return found
