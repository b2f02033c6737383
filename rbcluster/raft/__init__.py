"""The engine room: a state machine replicated by Raft, with PySyncObj behind a small interface.

Top to bottom; each file says at its head what it is and what it is not:

- ``engine``       the door: propose, state, view, transfer, broadcast; drives everything below
- ``receiver``, ``handover``, ``observers``   parts of it: what comes in, leading on, who looks on
- ``settings``, ``profile``, ``limits``     what it is told, how patient it is, what it tolerates
- ``machine``, ``proposal``, ``view``       the values that cross the door
- ``pysyncobj_patch``, ``_messages``, ``_voters``, ``_library``   Raft; they alone know PySyncObj's
  insides; ``canvass`` is asked before an election
- ``electorate``, ``configuration``, ``linked_peers``, ``roll``   who votes; who is linked as what
- ``refounding``, ``replay``                a new cluster from what one node knows
- ``messages``                              which of its messages are taken from whom
- ``transport``, ``link``, ``frames``, ``tls``   one authenticated link to each member
- ``gate``, ``throttle``                    what strangers may cost
- ``storage``, ``storage_identity``         a node's data directory, and whose it is
- ``journal``, ``log_content``, ``batches``, ``snapshot``, ``records``   what is in it, checksummed
- ``disk``, ``damage``, ``codec``           the calls beneath, and the words for what can be wrong
"""
