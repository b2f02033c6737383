"""Hard limits of the engine room: what a peer may make this node hold or wait for.

Not here: Raft's periods, which depend on the network between the nodes (`profile.py`).
"""

from __future__ import annotations

MAX_COMMAND_BYTES = 256 * 1024
"""Longest command (our choice): five times the largest onion-service descriptor, which a report of
introduction points carries."""

MAX_CONFIGURATION_BYTES = MAX_COMMAND_BYTES + 1024
"""A command that changes the voters, and their names."""

BATCH_BYTES = MAX_CONFIGURATION_BYTES + 2
"""Entries that PySyncObj puts into one append_entries. Above every command, so that it never falls
into its broken path for oversized entries (a command near a multiple of it ends too early)."""

MAX_ENTRIES_PER_MESSAGE = 1024
"""Keeps the overhead of very short entries, which `BATCH_BYTES` does not count, within a frame."""

MAX_FRAME_BYTES = 640 * 1024
"""A full batch, one more command that crossed its end, and the overhead of each entry."""

MAX_HELLO_BYTES = 1024
"""First frame of a connection, before its sender is known to be a member."""

MAX_AGENT_BYTES = 64 * 1024
"""Payload of one `RaftEngine.broadcast`."""

MAX_REASON_CHARS = 300
"""Why a leader refuses a forwarded command, as its proposer is told."""

OUT_BUFFER_HIGH_BYTES = 1024 * 1024
OUT_BUFFER_LOW_BYTES = 256 * 1024
"""Above the first, PySyncObj is told to send this peer nothing; below the second, to go on. It has
no flow control of its own and would queue a whole log in one tick."""

OUT_BUFFER_CAP_BYTES = 8 * 1024 * 1024
"""Above this, the connection is cut: something other than the log floods a peer that won't read."""

SNAPSHOT_CHUNK_BYTES = 256 * 1024
MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024
"""Largest state a leader may send (our choice): a hundred times that of a few hundred nodes."""

MAX_PROPOSALS_IN_FLIGHT = 1024
"""Own proposals that wait for an outcome; further ones are refused."""

MAX_HANDSHAKES = 16
MAX_HANDSHAKES_PER_SOURCE = 8
"""Connections that have not said who they are, in all and from one address (many nodes may be
behind one): see `gate.py`."""

LISTEN_BACKLOG = 128
"""Connections that the kernel keeps until this node gets to them: a few ticks' worth of a crowd."""

MAX_HANDSHAKES_PER_S = 50
"""... and how many may begin in a second, as many at once after a quiet one: some 3 ms each."""

MAX_TERM = 2**48
"""An election every millisecond needs 8,900 years to get there: a higher term is a lie."""

MAX_LOG_INDEX = 2**48
