"""What the agent needs of its two adapters, as protocols: the cluster and the tor beside it.

`raft/engine.py` and `tor/controller.py` fulfil them; tests and the simulator bring their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from rbcluster.core.commands import Verdict
from rbcluster.core.ids import NodeId
from rbcluster.core.plan import SlotRing
from rbcluster.core.state import ClusterState
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint
from rbcluster.raft.gate import TurnedAway
from rbcluster.raft.proposal import ProposalResult
from rbcluster.raft.view import RaftView
from rbcluster.tor.descriptor_fetch import FetchResult
from rbcluster.tor.descriptor_upload import UploadResult
from rbcluster.tor.intro_source import LocalIntroPoints
from rbcluster.tor.settings import TorStatus


class Cluster(Protocol):
    """The replicated state machine, as one node sees it."""

    @property
    def state(self) -> ClusterState:
        """The state after the last applied command."""

    @property
    def view(self) -> RaftView:
        """Who leads, which term, who is connected."""

    @property
    def num_turned_away(self) -> Mapping[TurnedAway, int]:
        """How many connections from outside did not become links, since the start."""

    async def propose(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        """Have a command committed."""

    async def reconfigure(self, command: bytes, timeout_s: float) -> ProposalResult[Verdict]:
        """Have a command committed that changes who belongs to the cluster; the leader alone."""

    def is_caught_up(self, peer: NodeId) -> bool:
        """Tell, on the leader, whether a peer holds all that is committed."""

    async def transfer(self, to: NodeId | None, timeout_s: float) -> None:
        """Hand the leadership to another voter."""

    def broadcast(self, payload: bytes) -> None:
        """Send a small message to every connected node."""

    def tell(self, peer: NodeId, payload: bytes) -> bool:
        """Send a small message to one connected node; False if it is not connected."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Be told when the state or the view may have changed."""


class Tor(Protocol):
    """The tor of this node."""

    @property
    def status(self) -> TorStatus:
        """Whether it answers, and what is wrong with it."""

    @property
    def consensus(self) -> ConsensusView | None:
        """The network as this tor knows it."""

    @property
    def slot_rings(self) -> tuple[SlotRing, ...]:
        """Its HSDirs on the rings of both slots; empty without a consensus."""

    @property
    def num_visitors(self) -> int | None:
        """How many visitors are connected through it now; None while that is not known."""

    def intro_points(self, address: OnionAddress) -> LocalIntroPoints | None:
        """What it holds for a service now, perhaps no points; None while that is not known."""

    def offer(self, address: OnionAddress, document: bytes) -> bool:
        """Take a descriptor that a peer fetched of this node's own, if it holds."""

    async def upload(
        self,
        address: OnionAddress,
        document: bytes,
        hsdir: Fingerprint,
        may_send: Callable[[], bool],
        timeout_s: float,
    ) -> UploadResult:
        """Post a descriptor to one HSDir, if `may_send` still says so, and wait for its answer."""

    async def fetch(
        self, address: OnionAddress, hsdir: Fingerprint, timeout_s: float
    ) -> FetchResult:
        """Ask one HSDir for the descriptor of the period in force."""
