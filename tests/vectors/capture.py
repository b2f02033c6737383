"""Capture test vectors from real tor: `python tests/vectors/capture.py descriptors|uploads`.

It starts a private network and writes a directory `tor-<version>` beside itself; README.md says
what each file is.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from rbcluster.errors import ControlPortError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.time_period import DescriptorSlot
from rbcluster.lab.network import BOOTSTRAPPED, NetworkSize, PrivateNetwork
from rbcluster.lab.tor_process import TorProcess
from rbcluster.lab.waiting import wait_for

_SEEDS = {  # the first is the one of the notes the project began with
    "shared": "454cf9d7990b659e44900c12cd623bebd514eba5709cf0356cbfe224da47cbaf",
    "ordinary": "11" * 32,
    "authorized": "22" * 32,
}
_CLIENT_SECRET = bytes.fromhex("33" * 32)
_CONSENSUS = "dir/status-vote/current/consensus-microdesc"
_UPLOAD = "initiated upload request"
_UPLOAD_FIELDS = re.compile(
    r"(?P<time>.{15})\.\d+ .* (?P<slot>current|next) descriptor of revision (?P<revision>\d+) .*"
    r"\$(?P<hsdir>[0-9A-F]{40})~.* index (?P<hsdir_index>[0-9A-F]{64})"
)
_SLOTS = {"current": "first", "next": "second"}  # tor's words and ours
_SECRET_HEADER = b"== ed25519v1-secret: type0 ==\0\0\0"
_LIMIT_S = 120.0
_INTRO_POINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One service that was run, and the descriptor its tor made."""

    name: str
    facts: dict[str, object]
    descriptor: bytes


def make_service(directory: Path, name: str) -> tuple[OnionAddress, list[str]]:
    """Lay out a HiddenServiceDir; return its address and the torrc lines that serve it."""
    keypair = IdentityKeypair.from_seed(bytes.fromhex(_SEEDS[name]))
    address = OnionAddress(keypair.public)
    directory.mkdir(mode=0o700, parents=True)
    directory.parent.chmod(0o700)
    (directory / "hs_ed25519_secret_key").write_bytes(_SECRET_HEADER + keypair.secret)
    lines = [f"HiddenServiceDir {directory}", "HiddenServicePort 80 127.0.0.1:1"]
    if name == "shared":
        (directory / "ob_config").write_text(f"MasterOnionAddress {address}\n")
        lines += ["HiddenServiceOnionbalanceInstance 1", "PublishHidServDescriptors 0"]
    if name == "authorized":
        public = X25519PrivateKey.from_private_bytes(_CLIENT_SECRET).public_key()
        encoded = base64.b32encode(public.public_bytes_raw()).decode().rstrip("=")
        clients = directory / "authorized_clients"
        clients.mkdir(mode=0o700)
        (clients / "visitor.auth").write_text(f"descriptor:x25519:{encoded}\n")
    return address, lines


async def capture_service(network: PrivateNetwork, name: str) -> Capture:
    """Run a tor with one service until it has all introduction points; return its descriptor."""
    directory = network.directory / name
    address, lines = make_service(directory / "service", name)
    tor = TorProcess(directory, [*network.client_torrc_lines, "SocksPort 0", *lines])
    started = time.time()
    tor.start()
    try:
        await tor.wait_for_log(BOOTSTRAPPED, _LIMIT_S)

        async def read() -> bytes | None:
            circuits = await tor.getinfo("circuit-status")
            if circuits.count(b"HSSI_ESTABLISHED") < 2 * _INTRO_POINTS:  # both descriptors'
                return None
            return await read_descriptor(tor, address, uploaded=name != "shared")

        descriptor = await until(read)
        captured = time.time()
    finally:
        tor.kill()
    facts = {
        "seed": _SEEDS[name],
        "address": str(address),
        "service_started_at_unix": round(started, 3),
        "captured_at_unix": round(captured, 3),
    }
    if name == "authorized":
        facts["client_x25519_secret"] = _CLIENT_SECRET.hex()
    return Capture(name=name, facts=facts, descriptor=descriptor)


def encode_uploads(log: bytes) -> bytes:
    """Turn tor's log of uploads into JSON: when, which slot and revision, to which HSDir."""
    uploads = []
    for line in log.decode().splitlines():
        fields = _UPLOAD_FIELDS.match(line)
        if fields is None:
            raise SystemExit(f"this tor logs uploads in another form: {line}")
        year = datetime.now().astimezone().year
        at = datetime.strptime(f"{year} {fields['time']}", "%Y %b %d %H:%M:%S").astimezone()
        uploads.append(
            {
                "at_unix": int(at.timestamp()),
                "slot": _SLOTS[fields["slot"]],
                "revision": int(fields["revision"]),
                "hsdir": fields["hsdir"],
                "hsdir_index": fields["hsdir_index"],
            }
        )
    return json.dumps(uploads, indent=1).encode() + b"\n"


async def read_descriptor(
    tor: TorProcess, address: OnionAddress, *, uploaded: bool
) -> bytes | None:
    """Read tor's own descriptor; None while it shall have been uploaded and was not.

    Until then its revision is 0.
    """
    text = await tor.getinfo(f"hs/service/desc/id/{address.label}")
    return None if uploaded and b"\nrevision-counter 0\n" in text else text


async def until(look: Callable[[], Awaitable[bytes | None]], limit_s: float = _LIMIT_S) -> bytes:
    """Ask until there is an answer; tor refuses what it does not know yet."""

    async def ask() -> bytes | None:
        try:
            return await look()
        except ControlPortError:
            return None

    return await wait_for(ask, "an answer of tor", limit_s)


async def read_directory(tor: TorProcess) -> dict[str, bytes]:
    """Read the consensus and the microdescriptors a tor goes by."""
    return {
        "consensus-microdesc.txt": await tor.getinfo(_CONSENSUS),
        "microdescriptors.txt": await tor.getinfo("md/all"),
    }


async def capture_uploads(network: PrivateNetwork) -> dict[str, bytes]:
    """Let tor publish a service by itself; return its log of uploads and the network it saw.

    Both shared random values must be known, which takes up to three runs of 24 votes.
    """
    directory = network.directory / "publisher"
    address, lines = make_service(directory / "service", "ordinary")
    log = directory / "rend-log"
    own_lines = ["SocksPort 0", f"Log [rend]info file {log}", *lines]
    client = TorProcess(network.directory / "client", [*network.client_torrc_lines, "SocksPort 0"])
    tor = TorProcess(directory, [*network.client_torrc_lines, *own_lines])
    try:
        client.start()

        async def both_values() -> bytes | None:
            text = await client.getinfo(_CONSENSUS)
            return text if text.count(b"\nshared-rand-") == len(DescriptorSlot) else None

        await until(both_values, 3 * 24 * network.size.interval_s)
        tor.start()

        async def all_uploads() -> bytes | None:
            found = [line for line in log.read_text().splitlines() if _UPLOAD in line]
            done = {slot for slot in ("current", "next") for line in found if f" {slot} " in line}
            return "\n".join(found).encode() if len(done) == len(DescriptorSlot) else None

        await tor.wait_for_log(BOOTSTRAPPED, _LIMIT_S)
        await until(all_uploads)
        return {
            "uploads.json": encode_uploads(await until(all_uploads)),
            "descriptor.txt": await until(lambda: read_descriptor(tor, address, uploaded=True)),
            **await read_directory(tor),
        }
    finally:
        tor.kill()
        client.kill()


def tor_version() -> str:
    """Ask the installed tor for its version."""
    text = subprocess.run(["tor", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Tor version ([0-9.]+[0-9])", text)
    if found is None:
        raise SystemExit(f"tor --version said: {text}")
    return found[1]


async def capture_descriptors(network: PrivateNetwork) -> dict[str, bytes]:
    """Capture a descriptor of each kind of service, and the network they are from."""
    captures = [await capture_service(network, name) for name in _SEEDS]
    client = TorProcess(network.directory / "client", [*network.client_torrc_lines, "SocksPort 0"])
    client.start()
    try:
        await client.wait_for_log(BOOTSTRAPPED, _LIMIT_S)
        files = await read_directory(client)
    finally:
        client.kill()
    facts = {
        "tor_version": tor_version(),
        "testing_network": True,
        "voting_interval_s": network.size.interval_s,
        "period_length_min": 24 * network.size.interval_s // 60,
        "services": {capture.name: capture.facts for capture in captures},
    }
    files["capture.json"] = json.dumps(facts, indent=2).encode() + b"\n"
    for capture in captures:
        name = "descriptor.txt" if capture.name == "shared" else f"descriptor-{capture.name}.txt"
        files[name] = capture.descriptor
    return files


async def main(part: str) -> None:
    """Start a network, capture one part of the vectors from it, and write it down."""
    directory = Path(__file__).parent / f"tor-{tor_version()}"
    async with PrivateNetwork(NetworkSize()) as network:
        if part == "descriptors":
            files = await capture_descriptors(network)
        else:
            directory /= "uploads"
            files = await capture_uploads(network)
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


if __name__ == "__main__":
    if sys.argv[1:] not in (["descriptors"], ["uploads"]):
        raise SystemExit(__doc__)
    asyncio.run(main(sys.argv[1]))
