from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.endpoint import HostPort
from rbcluster.enrolment.token import Token
from rbcluster.errors import ConfigError

TOKEN = Token(HostPort("192.0.2.1", 7301), b"a" * 32, b"s" * 32)


@pytest.mark.parametrize("address", ["192.0.2.1:7301", "[2001:db8::1]:1", "a.example.org:65535"])
def test_a_token_is_one_line_and_comes_back(address: str) -> None:
    token = Token(HostPort.parse(address), TOKEN.authority, TOKEN.secret)
    line = token.encode()
    assert Token.parse(f" {line}\n") == token
    assert len(line.split()) == 1


def test_the_cluster_knows_it_by_hashes_alone() -> None:
    assert TOKEN.proof == hashlib.sha256(TOKEN.secret).digest()
    assert TOKEN.digest == hashlib.sha256(TOKEN.proof).digest()


def test_a_secret_is_in_no_repr() -> None:
    assert "sss" not in repr(TOKEN)


@given(st.text(max_size=200) | st.integers(0, len(TOKEN.encode()) - 1))
def test_what_is_no_whole_token_is_refused(what: str | int) -> None:
    text = TOKEN.encode()[:what] if isinstance(what, int) else what
    with contextlib.suppress(ConfigError):
        assert Token.parse(text).address != TOKEN.address  # cut within the port


def test_a_refused_token_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        Token.parse("rbj1.secret")
    assert "secret" not in str(caught.value)
