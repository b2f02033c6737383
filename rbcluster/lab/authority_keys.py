"""The keys of a directory authority, made by tor's own tools, and the line that names it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbcluster.errors import TorError
from rbcluster.lab.ports import LOOPBACK

_TOOL_TIMEOUT_S = 60.0  # a key of 3072 bits takes seconds on a busy machine
_PASSPHRASE = b"lab\n"  # the tool insists on one; the keys are worth nothing outside the lab
_CERTIFICATE_FINGERPRINT = re.compile(r"^fingerprint ([0-9A-F]{40})$", re.MULTILINE)
_RELAY_FINGERPRINT = re.compile(r"([0-9A-F]{40})\s*$")
# tor asks for the authorities of a testing network even where it only prints a fingerprint.
_ANY_AUTHORITY = f"any orport=1 no-v2 v3ident={'A' * 40} {LOOPBACK}:1 {'B' * 40}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityPlace:
    """Where an authority lives: its directory and its two ports."""

    name: str
    data_directory: Path
    or_port: int
    dir_port: int


async def make_authority_keys(place: AuthorityPlace) -> str:
    """Make all keys of one authority in its data directory.

    :returns: its ``DirAuthority`` line, which every tor of the network carries.
    :raises TorError: if tor or tor-gencert is missing or fails.
    """
    keys = place.data_directory / "keys"
    keys.mkdir(mode=0o700, parents=True)
    place.data_directory.chmod(0o700)
    identity, fingerprint = await asyncio.gather(
        asyncio.to_thread(_make_voting_keys, keys, place.dir_port),
        asyncio.to_thread(_make_relay_keys, place),
    )
    return (
        f"DirAuthority {place.name} orport={place.or_port} no-v2 v3ident={identity} "
        f"{LOOPBACK}:{place.dir_port} {fingerprint}"
    )


def _make_voting_keys(keys: Path, dir_port: int) -> str:
    """Make identity key, signing key and certificate; return the identity's fingerprint."""
    certificate = keys / "authority_certificate"
    files = ["-i", f"{keys}/authority_identity_key", "-s", f"{keys}/authority_signing_key"]
    address = ["-c", str(certificate), "-a", f"{LOOPBACK}:{dir_port}"]
    _run(["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", *files, *address])
    return _find(_CERTIFICATE_FINGERPRINT, certificate.read_text(), "tor-gencert")


def _make_relay_keys(place: AuthorityPlace) -> str:
    """Let tor make its relay keys; return the fingerprint."""
    options = ["--DataDirectory", str(place.data_directory), "--ORPort", str(place.or_port)]
    testing = ["--TestingTorNetwork", "1", "--DirAuthority", _ANY_AUTHORITY]
    quiet = ["--quiet", "--ignore-missing-torrc", "-f", str(place.data_directory / "no-torrc")]
    files = [*quiet, "--defaults-torrc", os.devnull]
    text = _run(["tor", "--list-fingerprint", *files, *options, *testing])
    return _find(_RELAY_FINGERPRINT, text.replace(" ", ""), "tor --list-fingerprint")


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            input=_PASSPHRASE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=_TOOL_TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise TorError(f"{command[0]} is not installed: install the package tor") from error
    except subprocess.TimeoutExpired as error:
        raise TorError(f"{command[0]} took longer than {_TOOL_TIMEOUT_S:g} s") from error
    except subprocess.CalledProcessError as error:
        said = error.output.decode(errors="replace").strip()
        raise TorError(f"{command[0]} failed ({error.returncode}): {said}") from error
    return done.stdout.decode(errors="replace")


def _find(pattern: re.Pattern[str], text: str, tool: str) -> str:
    found = pattern.search(text)
    if found is None:
        raise TorError(f"{tool} named no fingerprint, but said: {text.strip()[-200:]}")
    return found[1]
