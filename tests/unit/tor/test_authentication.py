from __future__ import annotations

import hmac
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rbcluster.errors import ControlPortError, TorOptionError
from rbcluster.tor.authentication import authenticate
from rbcluster.tor.connection import ControlConnection, open_connection
from tests.unit.tor.fake_control_port import FakeControlPort, protocolinfo, single

_COOKIE = bytes(range(32))
_TOR_NONCE = bytes([5] * 32)


@pytest.fixture
async def connection(port: FakeControlPort, directory: Path) -> AsyncIterator[ControlConnection]:
    assert port.num_connections == 0
    async with open_connection(directory / "control", print) as opened:
        yield opened


def _offer_cookie(port: FakeControlPort, path: Path, methods: str = "SAFECOOKIE") -> None:
    port.answers["PROTOCOLINFO"] = protocolinfo(f'{methods} COOKIEFILE="{path}"')


def _challenge(cookie: bytes, nonce: bytes) -> bytes:
    key = b"Tor safe cookie authentication server-to-controller hash"
    proof = hmac.digest(key, cookie + nonce + _TOR_NONCE, "sha256").hex().upper()
    return single(f"AUTHCHALLENGE SERVERHASH={proof} SERVERNONCE={_TOR_NONCE.hex().upper()}")


@pytest.fixture
def nonce(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The nonce that we draw, known beforehand so that the fake can prove itself."""
    drawn = bytes([3] * 32)
    monkeypatch.setattr(os, "urandom", lambda size: drawn[:size])
    return drawn


async def test_an_open_port_takes_an_empty_proof(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    assert await authenticate(connection, None) == "0.4.8.1"
    assert port.requests == ["PROTOCOLINFO 1", "AUTHENTICATE"]


async def test_a_password_is_quoted(port: FakeControlPort, connection: ControlConnection) -> None:
    port.answers["PROTOCOLINFO"] = protocolinfo("HASHEDPASSWORD")
    await authenticate(connection, 'a "b" \\c')
    assert port.requests[-1] == r'AUTHENTICATE "a \"b\" \\c"'


async def test_a_cookie_is_proven_and_never_sent(
    port: FakeControlPort, connection: ControlConnection, directory: Path, nonce: bytes
) -> None:
    (directory / "cookie").write_bytes(_COOKIE)
    _offer_cookie(port, directory / "cookie", "COOKIE,SAFECOOKIE")
    port.answers["AUTHCHALLENGE"] = _challenge(_COOKIE, nonce)
    await authenticate(connection, None)
    key = b"Tor safe cookie authentication controller-to-server hash"
    proof = hmac.digest(key, _COOKIE + nonce + _TOR_NONCE, "sha256").hex()
    assert port.requests[1:] == [
        f"AUTHCHALLENGE SAFECOOKIE {nonce.hex()}",
        f"AUTHENTICATE {proof}",
    ]


async def test_a_peer_that_does_not_know_its_cookie_gets_no_proof(
    port: FakeControlPort, connection: ControlConnection, directory: Path, nonce: bytes
) -> None:
    (directory / "cookie").write_bytes(_COOKIE)
    _offer_cookie(port, directory / "cookie")
    port.answers["AUTHCHALLENGE"] = _challenge(bytes(32), nonce)
    with pytest.raises(ControlPortError, match="something else may be listening in tor's place"):
        await authenticate(connection, None)
    assert not any(line.startswith("AUTHENTICATE") for line in port.requests)


async def test_the_plain_cookie_way_is_never_gone(
    port: FakeControlPort, connection: ControlConnection, directory: Path
) -> None:
    (directory / "cookie").write_bytes(_COOKIE)
    _offer_cookie(port, directory / "cookie", "COOKIE")
    with pytest.raises(ControlPortError, match="offers no way to authenticate"):
        await authenticate(connection, None)
    assert port.requests == ["PROTOCOLINFO 1"]


@pytest.mark.parametrize("size", [0, 31, 33])
async def test_a_file_that_is_no_cookie_is_not_used(
    port: FakeControlPort, connection: ControlConnection, directory: Path, size: int
) -> None:
    (directory / "cookie").write_bytes(bytes(size))
    _offer_cookie(port, directory / "cookie")
    with pytest.raises(ControlPortError, match=f"has {size} bytes, not 32; it is not tor's"):
        await authenticate(connection, None)


async def test_a_cookie_that_can_not_be_read_names_the_remedy(
    port: FakeControlPort, connection: ControlConnection, directory: Path
) -> None:
    _offer_cookie(port, directory / "nothing")
    with pytest.raises(ControlPortError, match=r"can't be read \(No such file.*debian-tor"):
        await authenticate(connection, None)


async def test_a_port_that_wants_a_password_says_so_if_there_is_none(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers["PROTOCOLINFO"] = protocolinfo("HASHEDPASSWORD")
    with pytest.raises(ControlPortError, match=r"asks for a password; set tor\.password_file,"):
        await authenticate(connection, None)


async def test_a_refused_password_is_an_error_without_the_password(
    port: FakeControlPort, connection: ControlConnection
) -> None:
    port.answers |= {
        "PROTOCOLINFO": protocolinfo("HASHEDPASSWORD"),
        "AUTHENTICATE": single("Authentication failed: Password did not match", 515),
    }
    with pytest.raises(
        ControlPortError, match=r"did not match\); check tor\.password_file"
    ) as refused:
        await authenticate(connection, "hunter2")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("version", "is_taken"), [("0.4.5.16", False), ("0.4.6.0-alpha", True)])
async def test_a_tor_before_0_4_6_is_refused(
    port: FakeControlPort, connection: ControlConnection, version: str, is_taken: bool
) -> None:
    port.answers["PROTOCOLINFO"] = protocolinfo(version=version)
    if is_taken:
        assert await authenticate(connection, None) == version
    else:
        with pytest.raises(TorOptionError, match=r"runs Tor 0\.4\.5\.16; rbcluster needs 0\.4\.6"):
            await authenticate(connection, None)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"250 OK\r\n", "PROTOCOLINFO can't be read"),
        (b'250-PROTOCOLINFO 1\r\n250-VERSION Tor="x"\r\n250 OK\r\n', "can't be read"),
        (b"250-PROTOCOLINFO 1\r\n250 OK\r\n", "does not tell its Tor version"),
        (b"250-PROTOCOLINFO 1\r\n250-AUTH METHODS=\r\n250 OK\r\n", "can't be read"),
        (b"510 Unrecognized\r\n", "refused PROTOCOLINFO: 510"),
    ],
)
async def test_a_peer_without_protocolinfo_is_an_error(
    port: FakeControlPort, connection: ControlConnection, answer: bytes, complaint: str
) -> None:
    port.answers["PROTOCOLINFO"] = answer
    with pytest.raises(ControlPortError, match=complaint):
        await authenticate(connection, None)


async def test_a_challenge_answered_with_nonsense_is_an_error(
    port: FakeControlPort, connection: ControlConnection, directory: Path
) -> None:
    (directory / "cookie").write_bytes(_COOKIE)
    _offer_cookie(port, directory / "cookie")
    port.answers["AUTHCHALLENGE"] = single("AUTHCHALLENGE SERVERHASH=00 SERVERNONCE=00")
    with pytest.raises(ControlPortError, match="answered AUTHCHALLENGE with nonsense"):
        await authenticate(connection, None)
