from collections.abc import Callable, Iterable
from typing import Any

from pysyncobj.config import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

PIPE_NOTIFIER_ENABLED: bool
pickle: Any

createJournal: Any

class _RAFT_STATE:
    FOLLOWER: int
    CANDIDATE: int
    LEADER: int

class _COMMAND_TYPE:
    REGULAR: int
    NO_OP: int

class SyncObj:
    def __init__(
        self,
        selfNode: Node | None,
        otherNodes: Iterable[Node],
        conf: SyncObjConf,
        *,
        nodeClass: type[Node],
        transport: Transport,
    ) -> None: ...
    def destroy(self) -> None: ...
    def doTick(self, timeToWait: float = ...) -> None: ...
    def forceLogCompaction(self) -> None: ...
    def transferLeadership(
        self, node: Node | None = ..., callback: Callable[[Any, int], None] | None = ...
    ) -> None: ...
    def _applyCommand(
        self, command: bytes, callback: Callable[[Any, int], None] | None, commandType: int
    ) -> None: ...
    def _getLeader(self) -> Node | None: ...
    def _isLeader(self) -> bool: ...
    @property
    def otherNodes(self) -> set[Any]: ...  # of the nodeClass given
    @property
    def raftCommitIndex(self) -> int: ...
    @property
    def raftCurrentTerm(self) -> int: ...
    @property
    def raftLastApplied(self) -> int: ...

    _SyncObj__commandsWaitingCommit: dict[int, list[tuple[int, Callable[[Any, int], None]]]]
    _SyncObj__commandsWaitingReply: dict[int, Callable[[Any, int], None]]
    _SyncObj__connectedNodes: set[Node]
    _SyncObj__lastResponseTime: dict[Node, float]
    _SyncObj__newAppendEntriesTime: float
    _SyncObj__noopIDx: int
    _SyncObj__otherNodes: set[Node]
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftMatchIndex: dict[Node, int]
    _SyncObj__raftLeader: Node | None
    _SyncObj__raftNextIndex: dict[Node, int]
    _SyncObj__raftState: int
    _SyncObj__readonlyNodes: set[Node]
    _SyncObj__selfNode: Node | None
    _SyncObj__serializer: Any

    def _SyncObj__doApplyCommand(self, command: bytes) -> Any: ...
    def _SyncObj__getEntries(
        self, fromIDx: int | None, count: int | None = ..., maxSizeBytes: int | None = ...
    ) -> list[tuple[bytes, int, int]]: ...
    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None: ...
    def _SyncObj__onLeaderChanged(self) -> None: ...
    def _SyncObj__sendAppendEntries(self) -> None: ...
    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None: ...
