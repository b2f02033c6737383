"""Revision counters: Tor's order-preserving scheme over the seconds since an SRV run began.

HSDirs keep a descriptor only if its counter is above that of the one they have. A plain clock
would show them how far the service's clock is off; so each blinded key turns seconds into a
rising sequence of its own: the sum of as many pseudo-random steps (1..2^16) as seconds have passed.
Nodes that share the key agree on it without talking, and a plain Tor with that key does too.

Not here: the committed floor below which no counter is used (`core/`).

Spec: rend-spec-v3 appendix F.2 (encrypted time in period).

Overview::

    BlindedKeypair --RevisionScheme.from_keypair--> RevisionScheme
    RevisionScheme --revision_at(seconds), revision_for(slot_time, now)--> counter
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import NewType

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from rbcluster.hs.hashring import SlotTime
from rbcluster.hs.keys import BlindedKeypair

RevisionCounter = NewType("RevisionCounter", int)
"""A descriptor's revision (0 .. 2^64-1). Spec: rend-spec-v3 2.4."""

MAX_SECONDS = 2**18  # crypto_ope.h OPE_INPUT_MAX; a period's descriptors live 48 h, 172,800 s
_STRIDE = 1024  # our choice: a sum is kept for every 1024th second; a multiple of 8 (whole blocks)
_STEP_BYTES = 2
_AES_BLOCK_BYTES = 16
_KEY_PREFIX = b"rev-counter-generation\0"  # its terminating NUL is part of it


@dataclass(frozen=True, slots=True, repr=False)
class RevisionScheme:
    """The rising sequence of one blinded key, with the intermediate sums that make it fast."""

    _key: bytes  # AES-256; secret
    _sums: tuple[int, ...]  # of the first 0, 1024, 2048, ... steps

    def __repr__(self) -> str:
        return "RevisionScheme(<secret>)"

    @classmethod
    def from_keypair(cls, keypair: BlindedKeypair) -> RevisionScheme:
        """Derive the sequence of a blinded key. Takes some milliseconds: keep the result."""
        return cls.from_key(hashlib.sha3_256(_KEY_PREFIX + keypair.secret).digest())

    @classmethod
    def from_key(cls, key: bytes) -> RevisionScheme:
        """Make the sequence of an AES key (32 bytes).

        :raises ValueError: if `key` is no AES key.
        """
        strides = (_sum_steps(key, first, _STRIDE) for first in range(0, MAX_SECONDS, _STRIDE))
        return cls(key, tuple(accumulate(strides, initial=0)))

    def revision_at(self, seconds: int) -> RevisionCounter:
        """Return the counter of a second.

        :param seconds: taken as 1 if below 1, as 2^18 if above.
        :returns: strictly rising with `seconds` from 1 to 2^18; at most 2^34.
        """
        strides, rest = divmod(min(max(seconds, 1), MAX_SECONDS), _STRIDE)
        return RevisionCounter(self._sums[strides] + _sum_steps(self._key, strides * _STRIDE, rest))

    def revision_for(self, slot_time: SlotTime, now: datetime) -> RevisionCounter:
        """Return the counter tor would use for a descriptor made now.

        :param now: aware UTC, of the local clock: a counter must rise between consensuses too.
        """
        # Plus one, as tor: the sequence is not defined at zero.
        return self.revision_at((now - slot_time.srv_run_start) // timedelta(seconds=1) + 1)


def _sum_steps(key: bytes, first: int, count: int) -> int:
    """Sum `count` steps, from step number `first` (from 0, a multiple of 8)."""
    block = first * _STEP_BYTES // _AES_BLOCK_BYTES
    encryptor = Cipher(AES(key), CTR(block.to_bytes(_AES_BLOCK_BYTES))).encryptor()
    stream = encryptor.update(bytes(count * _STEP_BYTES))
    # A step is a little-endian 16-bit value of the key stream, plus one.
    return sum(stream[::2]) + 256 * sum(stream[1::2]) + count
