"""Certificates: what they hold, what TLS makes of them, what is said of broken ones."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError
from rbcluster.pki import (
    AUTHORITY_LIFETIME,
    BACKDATE,
    NODE_LIFETIME,
    Authority,
    NodeTls,
    create_authority,
    issue_certificate,
    load_authority,
    verify_node_tls,
    write_authority,
    write_node_tls,
)

NOW = datetime.now(UTC).replace(microsecond=0)  # ssl reads the real clock
A, B = NodeId("a"), NodeId("b")


@pytest.fixture
def authority() -> Authority:
    return create_authority("example", NOW)


@pytest.fixture
def tls_a(tmp_path: Path, authority: Authority) -> Path:
    return _node(tmp_path, authority, A)


def _node(parent: Path, authority: Authority, node: NodeId) -> Path:
    directory = parent / str(node)
    write_node_tls(directory, authority, issue_certificate(authority, node, NOW))
    return directory


def _context(directory: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    files = NodeTls(directory)
    context = ssl.create_default_context(purpose, cafile=str(files.authority))
    context.load_cert_chain(files.certificate, files.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def _shake_hands(client: Path, server: Path, name: str) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Join two ends in memory until both have verified each other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = _context(client, ssl.Purpose.SERVER_AUTH).wrap_bio(
        to_client, to_server, server_hostname=name
    )
    far = _context(server, ssl.Purpose.CLIENT_AUTH).wrap_bio(to_server, to_client, server_side=True)
    waiting: list[Callable[[], None]] = [near.do_handshake, far.do_handshake]
    for _ in range(6):
        for step in list(waiting):
            try:
                step()
                waiting.remove(step)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return near, far


def test_two_nodes_of_one_authority_shake_hands_over_tls_1_3(
    tmp_path: Path, authority: Authority, tls_a: Path
) -> None:
    near, far = _shake_hands(_node(tmp_path, authority, B), tls_a, "a")
    assert near.version() == far.version() == "TLSv1.3"
    peer = far.getpeercert()
    assert peer is not None
    assert peer["subjectAltName"] == (("DNS", "b"),)


def test_a_node_that_answers_for_another_is_refused(
    tmp_path: Path, authority: Authority, tls_a: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        _shake_hands(tls_a, _node(tmp_path, authority, B), "a")


def test_a_node_of_another_cluster_is_refused(tmp_path: Path, tls_a: Path) -> None:
    stranger = _node(tmp_path / "other", create_authority("example", NOW), B)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(stranger, tls_a, "a")


def test_a_node_certificate_cannot_certify_others(tmp_path: Path, authority: Authority) -> None:
    node = issue_certificate(authority, A, NOW)
    forged = Authority(certificate=node.certificate, key=node.key)
    directory = tmp_path / "b"
    write_node_tls(directory, authority, issue_certificate(forged, B, NOW))
    with pytest.raises(ConfigError, match="was not issued by"):
        verify_node_tls(directory, B, NOW)


def test_lifetimes_are_ten_years_and_one_and_begin_a_day_back(authority: Authority) -> None:
    node = issue_certificate(authority, A, NOW).certificate
    assert node.not_valid_before_utc == authority.certificate.not_valid_before_utc == NOW - BACKDATE
    assert node.not_valid_after_utc == NOW + NODE_LIFETIME
    assert authority.certificate.not_valid_after_utc == NOW + AUTHORITY_LIFETIME


def test_a_node_certificate_names_the_node(authority: Authority) -> None:
    subject = issue_certificate(authority, A, NOW).certificate.subject
    assert subject.rfc4514_string() == "CN=a"


def test_key_files_are_private_and_certificates_are_not(tls_a: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tls_a.iterdir()}
    assert modes == {"ca.crt": 0o644, "node.crt": 0o644, "node.key": 0o600}


def test_no_repr_shows_a_key(authority: Authority) -> None:
    assert "PrivateKey" not in repr(authority)


def test_an_authority_survives_its_files(tmp_path: Path, authority: Authority) -> None:
    write_authority(tmp_path, authority)
    again = load_authority(tmp_path)
    assert again.certificate == authority.certificate
    assert issue_certificate(again, A, NOW).certificate.issuer == authority.certificate.subject


def test_good_files_verify(tls_a: Path) -> None:
    assert verify_node_tls(tls_a, A, NOW) == NodeTls(tls_a)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("ca.crt", None, r"ca\.crt: can't be read: No such file or directory: copy it again from"),
        ("node.crt", b"", r"node\.crt: holds no PEM certificate"),
        ("node.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no PEM"),
        ("node.key", None, r"node\.key: can't be read"),
        ("node.key", b"sesame", r"node\.key: holds no PEM private key"),
    ],
)
def test_a_broken_file_is_named(tls_a: Path, name: str, data: bytes | None, message: str) -> None:
    path = tls_a / name
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        verify_node_tls(tls_a, A, NOW)
    assert "sesame" not in str(caught.value)


def test_a_key_that_others_can_read_is_refused(tls_a: Path) -> None:
    (tls_a / "node.key").chmod(0o640)
    with pytest.raises(ConfigError, match="has mode 0640, others can read it: chmod 600"):
        verify_node_tls(tls_a, A, NOW)


def test_a_key_of_another_kind_is_refused(tls_a: Path) -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tls_a / "node.key").write_bytes(pem)
    with pytest.raises(ConfigError, match="is no ECDSA key"):
        verify_node_tls(tls_a, A, NOW)


def test_a_key_of_another_certificate_is_refused(
    tmp_path: Path, authority: Authority, tls_a: Path
) -> None:
    other = _node(tmp_path, authority, B)
    (other / "node.key").replace(tls_a / "node.key")
    with pytest.raises(ConfigError, match=r"node\.key: is not the key of .*node\.crt"):
        verify_node_tls(tls_a, A, NOW)


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, tls_a: Path) -> None:
    write_authority(tmp_path / "other", create_authority("example", NOW))
    (tmp_path / "other" / "ca.crt").replace(tls_a / "ca.crt")
    with pytest.raises(ConfigError, match="was not issued by"):
        verify_node_tls(tls_a, A, NOW)


def test_a_certificate_of_another_node_is_refused(tls_a: Path) -> None:
    with pytest.raises(ConfigError, match="was issued to a, not to node b"):
        verify_node_tls(tls_a, B, NOW)


def test_a_certificate_without_a_name_is_refused(tmp_path: Path, authority: Authority) -> None:
    write_node_tls(tmp_path, authority, authority)
    with pytest.raises(ConfigError, match="was issued to no name, not to node a"):
        verify_node_tls(tmp_path, A, NOW)


@pytest.mark.parametrize(
    ("away", "message"),
    [
        (-BACKDATE - timedelta(seconds=1), r"ca\.crt: is valid only from .*: set the clock"),
        (
            NODE_LIFETIME + timedelta(seconds=1),
            r"node\.crt: expired .*: where the authority's key is, run `rbcluster certify",
        ),
        (AUTHORITY_LIFETIME + timedelta(seconds=1), r"ca\.crt: expired .*: make new ones for all"),
    ],
)
def test_a_certificate_out_of_its_time_is_refused(
    tls_a: Path, away: timedelta, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        verify_node_tls(tls_a, A, NOW + away)


@pytest.mark.parametrize("away", [-BACKDATE, timedelta(0), NODE_LIFETIME])
def test_the_ends_of_its_time_count(tls_a: Path, away: timedelta) -> None:
    verify_node_tls(tls_a, A, NOW + away)


def test_what_cannot_be_written_is_named_and_nothing_is_left(
    tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "ca.crt").mkdir()
    with pytest.raises(
        ConfigError, match=r"ca\.crt: can't be written: Is a directory: it is a folder: "
    ):
        write_authority(tmp_path, authority)
    assert [path.name for path in tmp_path.iterdir()] == ["ca.crt"]


def test_an_authority_signs_nodes_and_no_further_authorities(authority: Authority) -> None:
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.path_length) == (True, 0)
