"""How long a revision counter takes: summing every step, against kept sums. Median of 20 each.

Run: python bench/revision.py
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from statistics import median
from time import perf_counter

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from rbcluster.hs.revision import MAX_SECONDS, RevisionScheme

KEY = hashlib.sha3_256(b"bench").digest()
TRIALS = 20


def sum_every_step(seconds: int) -> int:
    """Compute a counter as the scheme is defined, step by step."""
    stream = Cipher(AES(KEY), CTR(bytes(16))).encryptor().update(bytes(2 * seconds))
    total = 0
    for (value,) in struct.iter_unpack("<H", stream):
        total += value + 1
    return total


def median_ms(work: Callable[[], object]) -> float:
    """Time some work (milliseconds, median of `TRIALS`)."""
    times = []
    for _ in range(TRIALS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return 1000 * median(times)


def main() -> None:
    scheme = RevisionScheme.from_key(KEY)
    worst = MAX_SECONDS - 1  # the longest walk after the last kept sum
    assert scheme.revision_at(worst) == sum_every_step(worst)
    print(f"plain loop       {median_ms(lambda: sum_every_step(worst)):8.3f} ms")
    print(f"making the sums  {median_ms(lambda: RevisionScheme.from_key(KEY)):8.3f} ms")
    print(f"with kept sums   {median_ms(lambda: scheme.revision_at(worst)):8.3f} ms")


if __name__ == "__main__":
    main()
