"""A model of what the demo is played with: tells at once what a real cluster does in seconds.

All of it keeps the loop's time, so that it can be played in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from rbcluster.agent.status_document import StatusDocument
from rbcluster.config import NodePaths
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import IdentityKeypair, IntroAuthKey
from rbcluster.lab.cluster import LabCluster
from rbcluster.lab.demo import Lab
from rbcluster.lab.network import PrivateNetwork
from rbcluster.lab.node_process import NodeProcess
from rbcluster.lab.visitor import Visit, Visitor
from tests.unit.cli.conftest import make_healthy_document
from tests.unit.lab.place import PlaceOnly

ADDRESS = OnionAddress(IdentityKeypair.from_seed(b"\x11" * 32).public)
NODES = ("a", "b", "c")
LEADER, SUCCESSOR = "b", "a"  # before the kill, and after it
NEVER = 1e9
POINTS = {name: frozenset({IntroAuthKey(name.encode() * 32)}) for name in NODES}
HSDIRS = tuple(Fingerprint(bytes([number]) * 20) for number in range(8))


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happens, and when; times in seconds from the kill, or from the new start."""

    elected_s: float = 0.8
    withdrawn_s: float = 3.0
    returned_s: float = 5.0
    visit_s: float = 0.01
    is_ever_served: bool = True
    is_led: bool = True
    points: Mapping[str, frozenset[IntroAuthKey]] = field(default_factory=lambda: POINTS)
    answers_before: Sequence[str] = NODES
    answers_without: Sequence[str] = ("a", "c")
    answers_after: Sequence[str] = NODES
    fails: Callable[[int], bool] = lambda _: False  # which of the visits after the withdrawal
    hsdirs: Sequence[Fingerprint] = HSDIRS
    stale_hsdirs: Sequence[Fingerprint] = ()  # these never take the dead node off


def now() -> float:
    return asyncio.get_running_loop().time()


class Model:
    """The cluster's fate, and who was started and stopped."""

    def __init__(self, course: Course, place: Path) -> None:
        self.course = course
        self.place = place
        self.running: list[str] = []
        self.refetches = 0
        self.killed_at: float | None = None
        self.started_at: float | None = None

    @property
    def lab(self) -> Lab:
        return Lab(
            network=lambda: ModelNetwork(self),
            visitor=lambda network: ModelVisitor(network, self),
            cluster=lambda network, names: ModelCluster(network, names, self),
        )

    def _has(self, since: float | None, seconds: float) -> bool:
        return since is not None and now() >= since + seconds

    @property
    def is_withdrawn(self) -> bool:
        return self._has(self.killed_at, self.course.withdrawn_s)

    @property
    def is_back(self) -> bool:
        return self._has(self.started_at, self.course.returned_s)

    def document(self) -> StatusDocument:
        document, course = make_healthy_document(), self.course
        document["cluster"]["leader"] = LEADER if course.is_led else None
        if not course.is_ever_served:
            document["services"][0]["published"] = False
        if self.killed_at is None or self.is_back:
            return document
        is_elected = self._has(self.killed_at, course.elected_s)
        document["cluster"]["leader"] = SUCCESSOR if is_elected else LEADER
        document["health"] = "degraded"
        document["problems"] = ["b is silent"]
        if self.is_withdrawn:
            next(n for n in document["nodes"] if n["name"] == LEADER)["intro_points"] = 0
        return document

    def answering(self) -> Sequence[str]:
        if self.is_back:
            return self.course.answers_after
        return self.course.answers_before if self.killed_at is None else self.course.answers_without


class ModelNetwork(PlaceOnly):
    def __init__(self, model: Model) -> None:
        super().__init__(model.place)
        self._model = model

    async def start(
        self,
        progress: Callable[[int, int], None] | None = None,
        timeout_s: float = 180,  # noqa: ARG002 - it is there at once
    ) -> None:
        self._model.running.append("network")
        if progress:
            progress(1, 1)

    async def stop(self) -> None:
        self._model.running.remove("network")


class ModelVisitor(Visitor):
    def __init__(self, network: PrivateNetwork, model: Model) -> None:
        super().__init__(network)
        self._model = model
        self._number = 0
        self._turn = cycle(range(6))

    async def start(self) -> None:
        self._model.running.append("visitor")

    async def stop(self) -> None:
        self._model.running.remove("visitor")

    async def forget_descriptor(self, address: OnionAddress) -> None:
        assert address == ADDRESS
        self._model.refetches += 1

    async def fetch_points(
        self, address: OnionAddress
    ) -> Mapping[Fingerprint, frozenset[IntroAuthKey]]:
        assert address == ADDRESS
        course, everything = self._model.course, frozenset().union(*POINTS.values())
        return {
            hsdir: everything if hsdir in course.stale_hsdirs else everything - POINTS[LEADER]
            for hsdir in course.hsdirs
        }

    async def visit(
        self,
        address: OnionAddress,
        port: int = 80,  # noqa: ARG002
        *,
        path: str = "/",  # noqa: ARG002
        fresh_circuit: bool = True,
        refetch: bool = False,  # noqa: ARG002
        timeout_s: float = 60,  # noqa: ARG002
    ) -> Visit:
        assert (address, fresh_circuit) == (ADDRESS, True)
        started_at = now()
        answering = self._model.answering()
        await asyncio.sleep(self._model.course.visit_s)
        has_failed = False
        if self._model.is_withdrawn:
            self._number += 1
            has_failed = self._model.course.fails(self._number)
        visit = Visit(
            started_at=started_at,
            connected_s=None,
            seconds=now() - started_at,
            body=b"" if has_failed else answering[next(self._turn) % len(answering)].encode(),
            error="no way there" if has_failed else None,
        )
        self._visits.append(visit)
        return visit


class ModelNode(NodeProcess):
    def __init__(self, name: str, model: Model) -> None:
        super().__init__(model.place / "cluster.toml", name, NodePaths(model.place / name))
        self._model = model

    @property
    def pid(self) -> int | None:
        return None

    def start(self) -> None:
        assert self.name == LEADER
        self._model.started_at = now()

    async def kill(self, *, with_tor: bool) -> None:
        assert (self.name, with_tor) == (LEADER, True)
        self._model.killed_at = now()


class ModelCluster(LabCluster):
    def __init__(self, network: PrivateNetwork, names: Sequence[str], model: Model) -> None:
        super().__init__(network, names)
        self.nodes = {name: ModelNode(name, model) for name in names}
        self._model = model

    @property
    def address(self) -> OnionAddress:
        return ADDRESS

    async def start(self) -> None:
        self._model.running.append("cluster")

    async def stop(self) -> None:
        self._model.running.remove("cluster")

    async def status(self, name: str | None = None) -> StatusDocument:  # noqa: ARG002
        return self._model.document()

    async def points_of(self, name: str) -> frozenset[IntroAuthKey]:
        return self._model.course.points[name]
