"""Signing requests, the pin, and a renewal that a crash may interrupt anywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rbcluster import pki
from rbcluster.certification import (
    Validity,
    begin_renewal,
    certify_request,
    check_request,
    fingerprint,
    finish_renewal,
    make_key,
    make_request,
    recover_renewal,
)
from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError

A, B = NodeId("a"), NodeId("b")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=300)
AUTHORITY = pki.create_authority("test", NOW)


@pytest.fixture(name="tls")
def tls_of_a(tmp_path: Path) -> Path:
    pki.write_node_tls(tmp_path, AUTHORITY, pki.issue_certificate(AUTHORITY, A, NOW))
    return tmp_path


def test_a_request_is_certified_for_its_own_node_only() -> None:
    key = make_key()
    request = make_request(A, key)
    assert check_request(request, A) == key.public_key()
    with pytest.raises(ConfigError, match="not one of b"):
        certify_request(AUTHORITY, B, request, NOW)


@pytest.mark.parametrize("request_", [b"", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_a_malformed_request_is_refused(request_: bytes) -> None:
    with pytest.raises(ConfigError, match="malformed"):
        check_request(request_, A)


def test_a_request_whose_signature_does_not_hold_is_refused() -> None:
    lines = make_request(A, make_key()).splitlines()
    lines[-2] = bytes(reversed(lines[-2].rstrip(b"="))) + lines[-2][len(lines[-2].rstrip(b"=")) :]
    with pytest.raises(ConfigError):
        check_request(b"\n".join(lines), A)


def test_each_authority_has_a_pin_of_its_own() -> None:
    other = pki.create_authority("test", NOW)
    assert fingerprint(AUTHORITY.certificate) != fingerprint(other.certificate)
    assert len(fingerprint(other.certificate)) == 32


def test_a_certificate_is_to_be_renewed_at_two_thirds_of_its_life(tls: Path) -> None:
    validity = Validity.of(tls)
    life = validity.ends_at - validity.begins_at
    assert validity.renew_at - validity.begins_at == life * 2 / 3
    assert timedelta(days=120) < validity.ends_at - validity.renew_at < timedelta(days=125)


def test_a_renewed_certificate_is_in_place_with_its_key(tls: Path) -> None:
    before = Validity.of(tls)
    certificate = certify_request(AUTHORITY, A, begin_renewal(tls, A), LATER)
    assert finish_renewal(tls, A, certificate)
    pki.verify_node_tls(tls, A, before.ends_at + timedelta(days=30))
    assert sorted(path.name for path in tls.iterdir()) == ["ca.crt", "node.crt", "node.key"]


def test_asking_twice_asks_for_the_same_key(tls: Path) -> None:
    keys = {check_request(begin_renewal(tls, A), A).public_numbers() for _ in range(2)}
    assert len(keys) == 1


def test_a_certificate_that_was_not_asked_for_changes_nothing(tls: Path) -> None:
    stray = certify_request(AUTHORITY, A, make_request(A, make_key()), LATER)
    assert not finish_renewal(tls, A, stray)
    begin_renewal(tls, A)
    assert not finish_renewal(tls, A, stray)
    pki.verify_node_tls(tls, A, NOW)


def test_a_certificate_of_another_authority_is_refused(tls: Path) -> None:
    foreign = pki.create_authority("test", NOW)
    certificate = certify_request(foreign, A, begin_renewal(tls, A), LATER)
    with pytest.raises(ConfigError, match="was not issued by the cluster's authority"):
        finish_renewal(tls, A, certificate)
    pki.verify_node_tls(tls, A, NOW)


@pytest.mark.parametrize("fails_at", [0, 1])
def test_a_crash_between_the_two_files_is_mended_at_the_next_start(
    tls: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    certificate = certify_request(AUTHORITY, A, begin_renewal(tls, A), LATER)
    num_replaced, replace = 0, Path.replace

    def crash(path: Path, target: Path) -> Path:
        nonlocal num_replaced
        if path.name.startswith("next."):
            if num_replaced == fails_at:
                raise KeyboardInterrupt
            num_replaced += 1
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            finish_renewal(tls, A, certificate)
    recover_renewal(tls)
    pki.verify_node_tls(tls, A, LATER + timedelta(days=200))
