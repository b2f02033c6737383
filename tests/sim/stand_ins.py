"""What the simulation puts in place of the machine, and of costly cryptography; nothing else.

- Time: PySyncObj asks a function of its module; here that is the loop's clock, the node's own.
- Chance: PySyncObj and the engine draw from the `random` module; here each run seeds it.
- Descriptors: building one takes 5 ms, and nothing of the simulation depends on its bytes. A cheap
  document with the same content stands for it at the two places of the agent that write or read
  one. `tests/unit/hs` and the end-to-end tests have the real ones.
- The proof in a report of introduction points is real, and verified for real, but only once for
  each document, and a command is decoded once, not by each node: the functions are pure.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import lru_cache
from unittest import mock

import msgpack
from pysyncobj import syncobj

from rbcluster.agent import admission, revision_floor, upload_round
from rbcluster.core import apply, plan
from rbcluster.core.codec import decode_command
from rbcluster.errors import ParseError
from rbcluster.hs.blinding import derive_blinded_key
from rbcluster.hs.descriptor import DescriptorContent, find_period, open_descriptor
from rbcluster.hs.keys import BlindedKey
from rbcluster.hs.randomness import RandomSource
from rbcluster.raft import pysyncobj_patch, pysyncobj_voters

_CACHED = 4096


def loop_time() -> float:
    """Read the clock of the node that is running."""
    return asyncio.get_running_loop().time()


def write_document(blinded: BlindedKey, revision: int, auth_keys: tuple[bytes, ...]) -> bytes:
    """Make a model descriptor."""
    document: bytes = msgpack.packb((blinded.raw, revision, auth_keys))
    return document


def read_document(document: bytes) -> tuple[BlindedKey, int, frozenset[bytes]]:
    """Read a model descriptor: whose, which revision, which introduction points."""
    try:
        blinded, revision, auth_keys = msgpack.unpackb(document)
    except ValueError as error:
        raise ParseError("no model descriptor") from error
    return BlindedKey(blinded), revision, frozenset(auth_keys)


def _build(content: DescriptorContent, _now: datetime, _rng: RandomSource) -> bytes:
    auth_keys = tuple(point.auth_key.raw for point in content.points)
    return write_document(content.keypair.public, content.revision, auth_keys)


def _read_blinded_key(document: bytes) -> BlindedKey:
    return read_document(document)[0]


def _read_revision(document: bytes) -> int:
    return read_document(document)[1]


_decode_command = lru_cache(_CACHED)(decode_command)
_find_period = lru_cache(_CACHED)(find_period)
_open_descriptor = lru_cache(_CACHED)(open_descriptor)
_derive_blinded_key = lru_cache(_CACHED)(derive_blinded_key)


@contextmanager
def in_place(seed: int) -> Iterator[None]:
    """Let the stand-ins stand for the duration of one run."""
    state = random.getstate()
    random.seed(seed)
    with ExitStack() as patches:
        for target, name, stand_in in (
            (syncobj, "monotonicTime", loop_time),
            (pysyncobj_patch, "monotonic", loop_time),
            (pysyncobj_voters, "monotonic", loop_time),
            (upload_round, "build_descriptor", _build),
            (revision_floor, "read_blinded_key", _read_blinded_key),
            (revision_floor, "read_revision", _read_revision),
            (admission, "find_period", _find_period),
            (admission, "open_descriptor", _open_descriptor),
            (revision_floor, "derive_blinded_key", _derive_blinded_key),
            (apply, "decode_command", _decode_command),
            (plan, "derive_blinded_key", _derive_blinded_key),
        ):
            patches.enter_context(mock.patch.object(target, name, stand_in))
        yield
    random.setstate(state)
