"""Measure the network view on a made consensus as large as the public network's.

    python -m bench.network_view [relays]

A process of its own plays tor, with another consensus each time it is asked. Prints the longest
stall of the event loop from one plan to the next (target: under 50 ms): the controller reads the
consensus through its socket, the planner plans; and what stays in memory (target: under 30 MB).
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import itertools
import multiprocessing
import random
import socket
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bench.figures import MIN_TRIALS, milliseconds, show, show_heading
from rbcluster.agent.planner import Planner
from rbcluster.core.plan import WantedDescriptor
from rbcluster.core.state import ClusterState
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.tor.controller import TorController
from rbcluster.tor.network_view import Network, parse_network_view
from rbcluster.tor.settings import TorMode, TorSettings

RELAYS = 8000
STALL_LIMIT_MS = 50.0
KEPT_LIMIT_BYTES = 30_000_000
PLAN_TIMEOUT_S = 30.0

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


def serve(listening: socket.socket, documents: tuple[bytes, bytes]) -> None:
    """Be the control port of a tor whose consensus is another one each time it is asked for.

    Only the first comes twice: a first consensus counts when it holds still.
    """
    connection, _ = listening.accept()
    midnight, later = b" 00:00:00\n", b" 00:30:00\n"
    times = itertools.chain([midnight], itertools.cycle((midnight, later)))
    consensus, microdescriptors = documents
    answers = {
        "PROTOCOLINFO": b"250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n"
        b'250-VERSION Tor="0.4.9.11"\r\n',
        "GETCONF": b"250-PublishHidServDescriptors=0\r\n250-TestingTorNetwork=0\r\n",
        "GETINFO status/bootstrap-phase": b"250-status/bootstrap-phase=BOOTSTRAP PROGRESS=100\r\n",
        "GETINFO circuit-status": b"250-circuit-status=\r\n",
        "GETINFO md/all": _block("md/all", microdescriptors),
    }
    for line in connection.makefile("r"):
        request = line.strip()
        answer = next((text for key, text in answers.items() if request.startswith(key)), b"")
        if "consensus-microdesc" in request:
            fresh = consensus.replace(midnight, next(times), 1)
            answer = _block(request.removeprefix("GETINFO "), fresh)
        connection.sendall(answer + b"250 OK\r\n")


def _block(key: str, data: bytes) -> bytes:
    return f"250+{key}=\r\n".encode() + data.replace(b"\n", b"\r\n") + b".\r\n"


class Watched:
    """A controller and what a node does at its bell, and how long the loop stood still."""

    def __init__(self, control: Path, state: ClusterState) -> None:
        settings = TorSettings(mode=TorMode.SYSTEM, tor_dir=control.parent, control=control)
        self.tor = TorController(settings, (), self._on_change)
        self.wanted: tuple[WantedDescriptor, ...] = ()
        self._state = state
        self._planner = Planner()
        self._planned = asyncio.Event()
        self._longest_s = 0.0

    def _on_change(self) -> None:
        wanted = self._planner.plan(self._state, self.tor.slot_rings)
        if wanted and wanted is not self.wanted:
            self.wanted = wanted
            self._planned.set()

    async def watch(self) -> NoReturn:
        """Note the longest time between two turns of the loop."""
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self._longest_s = max(self._longest_s, now - before)
            before = now

    async def next_stall_s(self) -> float:
        """Wait for the plan of the next consensus; return the longest stall on the way."""
        self._planned.clear()
        self._longest_s = 0.0
        async with asyncio.timeout(PLAN_TIMEOUT_S):
            await self._planned.wait()
        await asyncio.sleep(0)  # lets the watcher see a stall at the very end
        return self._longest_s


async def measure(control: Path) -> tuple[list[float], ConsensusView]:
    """Follow a tor through as many consensuses as there are trials."""
    service = OnionAddress(IdentityKeypair.from_seed(bytes(32)).public)
    state = replace(ClusterState(), services={service: "bench"})
    watched = Watched(control, state)
    tasks = [asyncio.create_task(watched.tor.run()), asyncio.create_task(watched.watch())]
    try:
        await watched.next_stall_s()  # the first is read twice before it counts
        stalls = [await watched.next_stall_s() for _ in range(MIN_TRIALS)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    view = watched.tor.consensus
    assert view is not None
    return stalls, view


def main(relays: int) -> int:
    """Print the figures; return the exit code."""
    documents = make_documents(relays)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        control = Path(folder) / "control"
        listening.bind(str(control))
        listening.listen()
        tor = multiprocessing.Process(target=serve, args=(listening, documents), daemon=True)
        tor.start()
        stalls, view = asyncio.run(measure(control))
        tor.join(PLAN_TIMEOUT_S)
    gc.collect()
    tracemalloc.start()
    network = Network.of(parse_network_view(*documents, testing_network=False))
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sizes = " + ".join(f"{len(document) / 1e6:.1f} MB" for document in documents)
    print(f"{relays} relays ({sizes}), {len(view.hsdirs)} HSDirs, {len(network.slot_rings)} rings")
    show_heading()
    show("longest stall of the loop", milliseconds(stalls), "ms")
    print(f"kept in memory {kept / 1e6:.1f} MB, {peak / 1e6:.1f} MB at the peak")
    return int(1000 * max(stalls) >= STALL_LIMIT_MS or kept >= KEPT_LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RELAYS))
