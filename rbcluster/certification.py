"""Certificates for keys that never leave their node: signing requests, pinning, renewal in place.

Not here: the authority itself (`pki.py`), how requests travel (`enrolment/`).

::

    new node       make_key -> make_request ──> certify_request, on a node that holds the authority
    renewal        begin_renewal: tls/next.key ──> certify_request ──> finish_renewal: both in place

A renewal replaces two files, the certificate last: a crash between leaves a key without its
certificate, which `recover_renewal` puts right at the next start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError
from rbcluster.pki import (
    Authority,
    NodeTls,
    certify_key,
    read_certificate,
    read_key,
    write_certificate,
    write_key,
)

RENEW_AT = 2 / 3  # of a certificate's life
_PEM = serialization.Encoding.PEM


def make_key() -> ec.EllipticCurvePrivateKey:
    """Make the private key of a node."""
    return ec.generate_private_key(ec.SECP256R1())


def make_request(node: NodeId, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write the signing request of a node (PEM): its name, its public key, and proof of both."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node.name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(_PEM)


def check_request(request: bytes, node: NodeId) -> ec.EllipticCurvePublicKey:
    """Check that a signing request (PEM) is a node's own.

    :returns: the public key that it asks to be certified.
    :raises ConfigError: if it is malformed, or speaks for another node.
    """
    try:
        parsed = x509.load_pem_x509_csr(request)
        names = [str(a.value) for a in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = parsed.public_key()
        is_proven = parsed.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise ConfigError("the signing request is malformed") from error
    if not is_proven or names != [node.name]:
        raise ConfigError(f"the signing request is not one of {node}")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("the signing request holds no ECDSA key on P-256")
    return key


def certify_request(authority: Authority, node: NodeId, request: bytes, now: datetime) -> bytes:
    """Certify a node's signing request.

    :returns: the certificate (PEM).
    :raises ConfigError: as `check_request`.
    """
    return certify_key(authority, node, check_request(request, node), now).public_bytes(_PEM)


def fingerprint(authority: x509.Certificate) -> bytes:
    """Compute what pins an authority: SHA-256 over its certificate, 32 bytes."""
    return hashlib.sha256(authority.public_bytes(serialization.Encoding.DER)).digest()


def parse_certificate(pem: bytes) -> x509.Certificate:
    """Read a certificate.

    :raises ConfigError: if it is malformed.
    """
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError("that is no PEM certificate") from error


def check_issued(certificate: x509.Certificate, authority: x509.Certificate) -> None:
    """Check that a certificate comes from an authority.

    :raises ConfigError: if it does not.
    """
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise ConfigError("the certificate was not issued by the cluster's authority") from error


@dataclass(frozen=True, slots=True)
class Validity:
    """The life of a node's certificate."""

    begins_at: datetime
    ends_at: datetime

    @classmethod
    def of(cls, tls_dir: Path) -> Validity:
        """Read it from the file.

        :raises ConfigError: if that can't be read.
        """
        certificate = read_certificate(NodeTls(tls_dir).certificate)
        return cls(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    @property
    def renew_at(self) -> datetime:
        """When it is to be renewed."""
        return self.begins_at + (self.ends_at - self.begins_at) * RENEW_AT


def _next_key(tls_dir: Path) -> Path:
    return tls_dir / "next.key"


def begin_renewal(tls_dir: Path, node: NodeId) -> bytes:
    """Make the next key, unless one is waiting for its certificate already.

    :returns: the signing request for it (PEM).
    :raises ConfigError: if it can't be read or written.
    """
    path = _next_key(tls_dir)
    if not path.exists():
        write_key(path, make_key())
    return make_request(node, read_key(path))


def finish_renewal(tls_dir: Path, node: NodeId, certificate: bytes) -> bool:
    """Put the next key and its certificate in place.

    :param certificate: PEM, as it came.
    :returns: whether it was the one asked for; otherwise nothing has changed.
    :raises ConfigError: if it is malformed, foreign, or can't be written.
    """
    files, path = NodeTls(tls_dir), _next_key(tls_dir)
    if not path.exists():
        return False
    new, key = parse_certificate(certificate), read_key(path)
    check_issued(new, read_certificate(files.authority))
    names = [str(a.value) for a in new.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if new.public_key() != key.public_key() or names != [node.name]:
        return False
    write_certificate(tls_dir / "next.crt", new)  # both are on disk before either is replaced
    _replace(tls_dir)
    return True


def recover_renewal(tls_dir: Path) -> None:
    """Finish what a crash left half done.

    :raises ConfigError: if a file can't be read or written.
    """
    if (tls_dir / "next.crt").exists():
        _replace(tls_dir)


def _replace(tls_dir: Path) -> None:
    files = NodeTls(tls_dir)
    try:
        if _next_key(tls_dir).exists():
            _next_key(tls_dir).replace(files.key)
        (tls_dir / "next.crt").replace(files.certificate)
    except OSError as error:
        raise ConfigError(f"{tls_dir}: can't be written: {error.strerror}") from error
