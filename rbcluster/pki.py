"""The cluster's own certificate authority: who may speak on its links.

One authority per cluster; one certificate per node, whose name is the node's. Both ends of every
link show theirs and check the other's (TLS 1.3). Not here: the links themselves (`raft/`), and the
master keys of onion services (`tor/key_directory.py`).

Overview::

    create_authority(cluster, now) -> Authority             10 years
    issue_certificate(authority, node, now) -> Certificate  1 year, a key pair of its own
    write_authority / load_authority                        DIR/ca.crt (0644), DIR/ca.key (0600)
    write_node_tls(tls_dir, authority, certificate)         ca.crt, node.crt, node.key
    verify_node_tls(tls_dir, node, now)                     ConfigError says what is wrong
    NodeTls(tls_dir)                                        the three paths

Keys are ECDSA on P-256: every TLS 1.3 implementation takes them. All names, uses and limits are in
the certificates, so that the standard library's `ssl` checks them unaided.
"""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError
from rbcluster.file_remedy import remedy_for

AUTHORITY_LIFETIME = timedelta(days=3652)  # 10 years: renewing it touches every node
NODE_LIFETIME = timedelta(days=365)
BACKDATE = timedelta(days=1)  # a node whose clock is behind still accepts a fresh certificate

_PUBLIC_MODE = 0o644
_SECRET_MODE = 0o600

_AUTHORITY_KEY = "ca.key"
_COPY = "copy it again from where `rbcluster init` was run"
_CERTIFY = (
    "where the authority's key is, run `rbcluster certify DIR NODE`, copy the tls folder that it "
    "makes here, and start again"
)
_RENEW = (
    "make new ones for all nodes: run `rbcluster init` into a new folder with the same --name and "
    "--node options, copy nodes/NAME/tls of it, and nothing else, to each node, and restart them "
    "all"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate and the private key that goes with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


class Authority(Certificate):
    """The certificate authority of one cluster."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NodeTls:
    """The three files of a node's links, in `NodePaths.tls_dir`."""

    directory: Path

    @property
    def authority(self) -> Path:
        """Certificate of the authority that every node trusts."""
        return self.directory / "ca.crt"

    @property
    def certificate(self) -> Path:
        """Certificate of this node."""
        return self.directory / "node.crt"

    @property
    def key(self) -> Path:
        """Private key of this node (0600)."""
        return self.directory / "node.key"


def create_authority(cluster: str, now: datetime) -> Authority:
    """Make a certificate authority, able to sign nodes and nothing further.

    :param cluster: its name, at most 63 characters.
    :param now: aware instant.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster),
            x509.NameAttribute(NameOID.COMMON_NAME, "rbcluster authority"),
        ]
    )
    builder = _builder(
        name,
        key.public_key(),
        issuer=name,
        issuer_key=key,
        valid=(now - BACKDATE, now + AUTHORITY_LIFETIME),
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(is_authority=True), critical=True)
    return Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)


def issue_certificate(authority: Authority, node: NodeId, now: datetime) -> Certificate:
    """Make a node a key pair of its own and certify it, as server and as client.

    :param now: aware instant.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    return Certificate(certificate=certify_key(authority, node, key.public_key(), now), key=key)


def certify_key(
    authority: Authority, node: NodeId, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.Certificate:
    """Certify a node's public key, as server and as client.

    :param now: aware instant.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node.name)])
    builder = _builder(
        name,
        key,
        issuer=authority.certificate.subject,
        issuer_key=authority.key,
        valid=(now - BACKDATE, now + NODE_LIFETIME),
    )
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(node.name)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256())


def write_authority(directory: Path, authority: Authority) -> None:
    """Write ca.crt and ca.key. Who holds ca.key can add nodes: it belongs on issuers alone.

    :raises ConfigError: if a file can't be written.
    """
    write_certificate(directory / "ca.crt", authority.certificate)
    write_key(directory / _AUTHORITY_KEY, authority.key)


def holds_authority(directory: Path) -> bool:
    """Tell whether an authority's key is there; whether it is good shows when it is used."""
    return (directory / _AUTHORITY_KEY).exists()


def load_authority(directory: Path) -> Authority:
    """Read what `write_authority` wrote.

    :raises ConfigError: if a file is missing or malformed, or the two don't belong together.
    """
    certificate = read_certificate(directory / "ca.crt")
    key = read_key(directory / _AUTHORITY_KEY)
    _check_pair(directory / "ca.crt", certificate, directory / _AUTHORITY_KEY, key)
    return Authority(certificate=certificate, key=key)


def write_node_tls(directory: Path, authority: Authority, certificate: Certificate) -> None:
    """Write ca.crt, node.crt and node.key.

    :raises ConfigError: if a file can't be written.
    """
    files = NodeTls(directory)
    write_certificate(files.authority, authority.certificate)
    write_certificate(files.certificate, certificate.certificate)
    write_key(files.key, certificate.key)


def verify_node_tls(directory: Path, node: NodeId, now: datetime) -> NodeTls:
    """Check that a node's three files belong together, to that node, and to now.

    :param now: aware instant.
    :returns: their paths.
    :raises ConfigError: naming the file and the remedy.
    """
    files = NodeTls(directory)
    authority = read_certificate(files.authority)
    certificate = read_certificate(files.certificate)
    key = read_key(files.key)
    _check_pair(files.certificate, certificate, files.key, key)
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError) as error:
        msg = f"{files.certificate}: was not issued by {files.authority}"
        raise ConfigError(f"{msg}: copy both from one `rbcluster init`") from error
    if (names := _dns_names(certificate)) != [node.name]:
        found = ", ".join(names) or "no name"
        raise ConfigError(
            f"{files.certificate}: was issued to {found}, not to node {node}: "
            f"copy the tls folder made for {node}"
        )
    _check_validity(files.authority, authority, now, remedy=_RENEW)
    _check_validity(files.certificate, certificate, now, remedy=_CERTIFY)
    return files


def _builder(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    """Begin a certificate with what both kinds have."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def _check_validity(
    path: Path, certificate: x509.Certificate, now: datetime, *, remedy: str
) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        raise ConfigError(f"{path}: is valid only from {start:%Y-%m-%d %H:%M} UTC: set the clock")
    if now > end:
        raise ConfigError(f"{path}: expired {end:%Y-%m-%d %H:%M} UTC: {remedy}")


def _check_pair(
    certificate_path: Path,
    certificate: x509.Certificate,
    key_path: Path,
    key: ec.EllipticCurvePrivateKey,
) -> None:
    if certificate.public_key() != key.public_key():
        raise ConfigError(f"{key_path}: is not the key of {certificate_path}: restore the pair")


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate.

    :raises ConfigError: if it can't be read, or is none.
    """
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: holds no PEM certificate: {_COPY}") from error


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key that only its owner can read.

    :raises ConfigError: if it can't be read, or trusted, or is none.
    """
    data = _read(path)
    if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
        raise ConfigError(f"{path}: has mode {mode:04o}, others can read it: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # No cause kept: the parser's error may quote what it read.
        raise ConfigError(f"{path}: holds no PEM private key: {_COPY}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: is no ECDSA key: use one made by `rbcluster init`")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = remedy_for(error, missing=_COPY)
        raise ConfigError(f"{path}: can't be read: {error.strerror}: {remedy}") from error


def write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Write a certificate, whole or not at all.

    :raises ConfigError: if it can't be written.
    """
    _write(path, certificate.public_bytes(serialization.Encoding.PEM), _PUBLIC_MODE)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key for its owner alone, whole or not at all.

    :raises ConfigError: if it can't be written.
    """
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(path, pem, _SECRET_MODE)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file as a whole or not at all: a crash leaves the old one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
            try:  # the file is 0600 from the start
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be written: {error.strerror}: {remedy_for(error)}"
        ) from error
