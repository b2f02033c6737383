"""The PySyncObj that is installed: whether it is the right one, and what of its module is replaced.

Not here: what is done with it (`pysyncobj_patch.py`, which lists it all).

Overview::

    check_library, check_replica   is it the one that this was written against
    patch_library                  replace what SyncObj's constructor takes from its module
    Outbox                         its transport: a function that sends
"""

from __future__ import annotations

from collections.abc import Callable

from pysyncobj import syncobj
from pysyncobj.syncobj import SyncObj
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from rbcluster.errors import RaftError
from rbcluster.raft import codec
from rbcluster.raft.codec import PeerNode
from rbcluster.raft.journal import Journal
from rbcluster.raft.messages import Message

SUPPORTED_VERSION = "0.3.17"

_MODULE_HOOKS = ("pickle", "createJournal", "PIPE_NOTIFIER_ENABLED")
_METHOD_HOOKS = (
    "_SyncObj__doApplyCommand",
    "_SyncObj__getEntries",
    "_SyncObj__loadDumpFile",
    "_SyncObj__onLeaderChanged",
    "_SyncObj__onMessageReceived",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__setCurrentTerm",
)
_ATTRIBUTE_HOOKS = (
    "_SyncObj__commandsWaitingCommit",
    "_SyncObj__commandsWaitingReply",
    "_SyncObj__connectedNodes",
    "_SyncObj__lastResponseTime",
    "_SyncObj__newAppendEntriesTime",
    "_SyncObj__noopIDx",
    "_SyncObj__otherNodes",
    "_SyncObj__raftElectionDeadline",
    "_SyncObj__raftMatchIndex",
    "_SyncObj__raftNextIndex",
    "_SyncObj__raftState",
    "_SyncObj__readonlyNodes",
    "_SyncObj__selfNode",
    "_SyncObj__serializer",
)


def check_library() -> None:
    """Check that the installed PySyncObj is the one that this file was written against.

    :raises RaftError: if it is another version, or lacks a hook.
    """
    missing = [name for name in _MODULE_HOOKS if not hasattr(syncobj, name)]
    missing += [name for name in _METHOD_HOOKS if name not in vars(SyncObj)]
    if VERSION != SUPPORTED_VERSION or missing:
        lacks = f" without {', '.join(missing)}" if missing else ""
        raise RaftError(
            f"PySyncObj {VERSION}{lacks} is installed, but rbcluster works with exactly "
            f"{SUPPORTED_VERSION}: install the locked requirements"
        )


def check_replica(replica: SyncObj) -> None:
    """Check that a new replica has all that is reached for in it.

    :raises RaftError: if it lacks something.
    """
    missing = [name for name in _ATTRIBUTE_HOOKS if not hasattr(replica, name)]
    if missing:
        raise RaftError(f"PySyncObj {VERSION} lacks {', '.join(missing)}: install the locked one")


def patch_library() -> None:
    """Replace what SyncObj's constructor takes from its module. Doing it again changes nothing."""
    syncobj.pickle = codec
    syncobj.createJournal = _given_journal
    syncobj.PIPE_NOTIFIER_ENABLED = False


def _given_journal(journal: Journal) -> Journal:
    return journal


class Outbox(Transport):
    """The transport in PySyncObj's eyes: a function that sends. Links live elsewhere."""

    def __init__(self, send: Callable[[PeerNode, Message], bool]) -> None:
        super().__init__(None, None, None)
        self._send = send

    def send(self, node: PeerNode, message: Message) -> bool:
        """Queue a message; never blocks."""
        return self._send(node, message)

    def destroy(self) -> None:
        """Do nothing: links are closed by their owner."""
