"""What rbcluster relies on of PySyncObj 0.3.17, which ships no types: exactly that, no more.

The names that begin with ``_SyncObj__`` are private to the library. Only
``rbcluster/raft/pysyncobj_patch.py`` may use them; it checks at start that each still exists.
"""
