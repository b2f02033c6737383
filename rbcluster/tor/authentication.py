"""How rbcluster proves to tor that it may control it.

What tor offers is asked with PROTOCOLINFO, which also tells tor's version. Of tor's four ways,
the plain COOKIE is left out on purpose: it hands the content of a file that the other side names
to whoever listens. Every tor that offers it offers SAFECOOKIE too, which proves both sides.

Spec: control-spec 3.5 [AUTHENTICATE], 3.21 [PROTOCOLINFO], 3.24 [AUTHCHALLENGE].
"""

from __future__ import annotations

import hmac
import os
import re
from pathlib import Path

import stem
from stem.connection import AuthMethod
from stem.response import ControlMessage
from stem.version import Version

from rbcluster.errors import ControlPortError, TorOptionError
from rbcluster.tor.connection import ControlConnection, RequestRefused

MIN_TOR_VERSION = Version("0.4.6.0")  # ours: the oldest series this code was thought through for

_COOKIE_BYTES = 32
_NONCE_BYTES = 32
_TOR_PROOF_KEY = b"Tor safe cookie authentication server-to-controller hash"
_OUR_PROOF_KEY = b"Tor safe cookie authentication controller-to-server hash"
_CHALLENGE = re.compile(r"AUTHCHALLENGE SERVERHASH=([0-9A-Fa-f]{64}) SERVERNONCE=([0-9A-Fa-f]{64})")


async def authenticate(connection: ControlConnection, password: str | None) -> str:
    """Check tor's version and authenticate, by the best way that tor offers.

    :param password: for HashedControlPassword; None if there is none.
    :returns: tor's version.
    :raises TorOptionError: if this tor is too old.
    :raises ControlPortError: if tor refuses, or offers only ways we have no secret for.
    """
    reply = await connection.request("PROTOCOLINFO 1")
    text = "\r\n".join(f"250-{line.text}" for line in reply.lines[:-1]) + "\r\n250 OK\r\n"
    try:
        info = ControlMessage.from_str(text, "PROTOCOLINFO")
    except (stem.ControllerError, LookupError, ValueError) as error:  # all that stem raises
        raise ControlPortError(
            f"{connection.name} is no Tor control port: its PROTOCOLINFO can't be read"
        ) from error
    if info.tor_version is None:
        raise ControlPortError(f"{connection.name} does not tell its Tor version")
    check_version(info.tor_version, connection.name)
    try:
        await connection.request(await _proof(connection, info, password))
    except RequestRefused as error:
        raise ControlPortError(
            f"{connection.name} refused authentication ({error.text}); check tor.password_file "
            "against HashedControlPassword, or let tor set CookieAuthentication 1"
        ) from error
    return str(info.tor_version)


def check_version(version: Version, place: str) -> None:
    """Refuse a tor that is too old.

    :param place: what runs it, for the error.
    :raises TorOptionError: if it is older than `MIN_TOR_VERSION`.
    """
    if version < MIN_TOR_VERSION:
        raise TorOptionError(
            f"{place} runs Tor {version}; rbcluster needs 0.4.6 or newer, so upgrade tor"
        )


async def _proof(connection: ControlConnection, info: ControlMessage, password: str | None) -> str:
    """Make the AUTHENTICATE command for what tor offers."""
    offered = info.auth_methods
    if AuthMethod.NONE in offered:
        return "AUTHENTICATE"
    if AuthMethod.PASSWORD in offered and password is not None:
        quoted = password.replace("\\", "\\\\").replace('"', '\\"')
        return f'AUTHENTICATE "{quoted}"'
    if AuthMethod.SAFECOOKIE in offered and info.cookie_path is not None:
        cookie = _read_cookie(Path(info.cookie_path), connection.name)
        return f"AUTHENTICATE {(await _answer_challenge(connection, cookie)).hex()}"
    if AuthMethod.PASSWORD in offered:
        raise ControlPortError(
            f"{connection.name} asks for a password; set tor.password_file, or let tor set "
            "CookieAuthentication 1"
        )
    raise ControlPortError(
        f"{connection.name} offers no way to authenticate that rbcluster knows; "
        "let tor set CookieAuthentication 1"
    )


def _read_cookie(path: Path, place: str) -> bytes:
    try:
        cookie = path.read_bytes()
    except OSError as error:
        raise ControlPortError(
            f"{place}: its cookie file {path} can't be read ({error.strerror}); run rbcluster in "
            "tor's group (debian-tor) with CookieAuthFileGroupReadable 1, or set tor.password_file"
        ) from error
    if len(cookie) != _COOKIE_BYTES:
        raise ControlPortError(
            f"{place}: its cookie file {path} has {len(cookie)} bytes, not {_COOKIE_BYTES}; "
            "it is not tor's"
        )
    return cookie


async def _answer_challenge(connection: ControlConnection, cookie: bytes) -> bytes:
    """Let tor prove that it knows the cookie, and return the proof that we do (32 bytes)."""
    nonce = os.urandom(_NONCE_BYTES)
    reply = await connection.request(f"AUTHCHALLENGE SAFECOOKIE {nonce.hex()}")
    match = _CHALLENGE.fullmatch(reply.text)
    if match is None:
        raise ControlPortError(f"{connection.name} answered AUTHCHALLENGE with nonsense")
    tor_proof, tor_nonce = bytes.fromhex(match[1]), bytes.fromhex(match[2])
    message = cookie + nonce + tor_nonce
    if not hmac.compare_digest(tor_proof, hmac.digest(_TOR_PROOF_KEY, message, "sha256")):
        raise ControlPortError(
            f"{connection.name} does not know the content of its own cookie file; "
            "something else may be listening in tor's place"
        )
    return hmac.digest(_OUR_PROOF_KEY, message, "sha256")
