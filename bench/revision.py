"""How long a revision counter takes: summing every step, against kept sums.

Run: ``python -m bench.revision``. Target: under a millisecond with kept sums.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from time import perf_counter

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from bench.figures import MIN_TRIALS, milliseconds, show, show_heading
from rbcluster.hs.revision import MAX_SECONDS, RevisionScheme

KEY = hashlib.sha3_256(b"bench").digest()


def sum_every_step(seconds: int) -> int:
    """Compute a counter as the scheme is defined, step by step."""
    stream = Cipher(AES(KEY), CTR(bytes(16))).encryptor().update(bytes(2 * seconds))
    total = 0
    for (value,) in struct.iter_unpack("<H", stream):
        total += value + 1
    return total


def time_ms(work: Callable[[], object]) -> list[float]:
    """Time some work, again and again (milliseconds)."""
    times = []
    for _ in range(MIN_TRIALS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return milliseconds(times)


def main() -> None:
    scheme = RevisionScheme.from_key(KEY)
    worst = MAX_SECONDS - 1  # the longest walk after the last kept sum
    assert scheme.revision_at(worst) == sum_every_step(worst)
    show_heading()
    show("plain loop", time_ms(lambda: sum_every_step(worst)), "ms")
    show("making the sums", time_ms(lambda: RevisionScheme.from_key(KEY)), "ms")
    show("with kept sums", time_ms(lambda: scheme.revision_at(worst)), "ms")


if __name__ == "__main__":
    main()
