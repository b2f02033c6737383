"""Tor v3 onion services that stay up: a cluster of identical nodes with a Raft-elected publisher.

Rooms, lowest first (imports only go downward; ``tests/unit/test_layers.py`` checks it):

- ``hs``     the v3 onion-service protocol, pure: bytes in, values out
- ``core``   the replicated state machine and its decisions, pure
- ``raft``   PySyncObj behind a small interface; ``tor`` the control port
- ``agent``  the daemon that joins them
- ``api``, ``cli``  what operators and scripts talk to; ``lab`` a private Tor network for both
"""

__version__ = "0.1.0"
