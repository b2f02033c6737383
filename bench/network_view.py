"""Measure the network view on a made consensus as large as the public network's.

    python -m bench.network_view [relays]

Prints the longest stall of the event loop while the view is read (target: under 50 ms), what
stays in memory (target: under 30 MB), and how long it takes.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import random
import sys
import time
import tracemalloc

from bench.figures import MIN_TRIALS, milliseconds, show, show_heading
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.tor.network_view import read_network_view

RELAYS = 8000
STALL_LIMIT_MS = 50.0
KEPT_LIMIT_BYTES = 30_000_000

_PREAMBLE = """network-status-version 3 microdesc
vote-status consensus
consensus-method 33
valid-after 2026-01-01 00:00:00
fresh-until 2026-01-01 01:00:00
valid-until 2026-01-01 03:00:00
voting-delay 300 300
known-flags Authority Exit Fast Guard HSDir Running Stable V2Dir Valid
params CircuitPriorityHalflifeMsec=30000 hsdir_spread_store=4 sendme_emit_min_version=1
shared-rand-previous-value 9 {previous}
shared-rand-current-value 9 {current}
"""
_ENTRY = """r relay{number} {identity} 2038-01-01 00:00:00 192.0.2.{octet} 9001 0
m {digest}
s Exit Fast Guard {flag}Running Stable V2Dir Valid
v Tor 0.4.9.11
pr Conflux=1 Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=1-5 \
LinkAuth=1,3 Microdesc=1-3 Padding=2 Relay=1-6
w Bandwidth={number}
"""
_MICRODESCRIPTOR = """onion-key
-----BEGIN RSA PUBLIC KEY-----
{rsa}
-----END RSA PUBLIC KEY-----
ntor-onion-key {ntor}
family-cert
p accept 20-23,43,53,79-81,88,110,143,194,220,389,443,464,531,543-544,554,563,636,706,749,853
id ed25519 {ed25519}
"""


def make_documents(relays: int) -> tuple[bytes, bytes]:
    """Make a consensus and its microdescriptors; three relays of four keep descriptors."""
    rng = random.Random(8000)

    def noise(size: int) -> str:
        return base64.b64encode(rng.randbytes(size)).decode().rstrip("=")

    entries = []
    microdescriptors = []
    for number in range(relays):
        keys = {"rsa": noise(140), "ntor": noise(32), "ed25519": noise(32)}
        microdescriptor = _MICRODESCRIPTOR.format(**keys)
        digest = hashlib.sha256(microdescriptor.encode()).digest()
        microdescriptors.append(microdescriptor)
        entries.append(
            _ENTRY.format(
                number=number,
                identity=noise(20),
                octet=number % 256,
                digest=base64.b64encode(digest).decode().rstrip("="),
                flag="HSDir " if number % 4 else "",
            )
        )
    preamble = _PREAMBLE.format(previous=noise(32) + "=", current=noise(32) + "=")
    consensus = "".join([preamble, *entries, "directory-footer\n"])
    return consensus.encode(), "".join(microdescriptors).encode()


async def measure(documents: tuple[bytes, bytes]) -> tuple[float, float, ConsensusView]:
    """Read the view once; return the longest stall and the whole time, in seconds."""
    consensus, microdescriptors = documents

    async def getinfo(key: str) -> bytes:
        return consensus if "consensus" in key else microdescriptors

    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest_s = max(longest_s, now - before)
            before = now

    watcher = asyncio.create_task(watch())
    started = time.perf_counter()
    view = await read_network_view(getinfo, testing_network=False)
    taken_s = time.perf_counter() - started
    await asyncio.sleep(0)  # lets the watcher see a stall at the very end
    watcher.cancel()
    return longest_s, taken_s, view


async def main(relays: int) -> int:
    """Print the figures; return the exit code."""
    documents = make_documents(relays)
    runs = [(await measure(documents))[:2] for _ in range(MIN_TRIALS)]  # a daemon keeps one view
    stalls, taken = (milliseconds(column) for column in zip(*runs, strict=True))
    gc.collect()
    tracemalloc.start()
    _, _, view = await measure(documents)
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sizes = " + ".join(f"{len(document) / 1e6:.1f} MB" for document in documents)
    print(f"{relays} relays ({sizes}), {len(view.hsdirs)} HSDirs")
    show_heading()
    show("longest stall of the loop", stalls, "ms")
    show("read in", taken, "ms")
    print(f"kept in memory {kept / 1e6:.1f} MB, {peak / 1e6:.1f} MB at the peak")
    return int(max(stalls) >= STALL_LIMIT_MS or kept >= KEPT_LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else RELAYS)))
