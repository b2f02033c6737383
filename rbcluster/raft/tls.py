"""Who is at the other end: mutual TLS 1.3 under the cluster's own certificate authority.

A node's certificate carries its name as the one DNS entry of the SubjectAltName (and as CN, for
people), and may be used as server and as client. The dialling side checks the name it wants; the
accepting side reads the name it gets. `pki.py` makes such certificates.

Not here: whether that node may connect (`transport.py`).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of the three PEM files that a node needs."""

    ca: Path  # certificate of the authority that every node trusts
    cert: Path  # this node's certificate
    key: Path  # its private key


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsContexts:
    """One context for each direction."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def load_contexts(files: TlsFiles, node: NodeId) -> TlsContexts:
    """Read a node's certificate and make ready to show it and to check those of others.

    :raises ConfigError: if a file can't be used, or the certificate is another node's.
    """
    _check_own_name(files.cert, node)
    server = _context(ssl.PROTOCOL_TLS_SERVER, files)
    server.verify_mode = ssl.CERT_REQUIRED
    server.num_tickets = 0  # every connection shows its certificate anew
    return TlsContexts(server=server, client=_context(ssl.PROTOCOL_TLS_CLIENT, files))


def reload_contexts(contexts: TlsContexts, files: TlsFiles, node: NodeId) -> None:
    """Have contexts that are in use show the certificate that is on disk now.

    :raises ConfigError: if it can't be used, or is another node's; the former one is shown then.
    """
    load_contexts(files, node)  # a pair that does not fit would leave a context without a key
    for context in (contexts.server, contexts.client):
        _load_own(context, files)


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(files.ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"{files.ca} is no usable certificate of the cluster's authority ({error}): "
            "copy ca.crt from where `rbcluster init` was run"
        ) from error
    _load_own(context, files)
    return context


def _load_own(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.cert, files.key)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{files.cert} and {files.key} are no usable pair ({error}): "
            "copy both again from where `rbcluster init` was run"
        ) from error


def _check_own_name(path: Path, node: NodeId) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise ConfigError(
            f"{path} is no usable certificate ({error}): "
            "copy node.crt again from where `rbcluster init` was run"
        ) from error
    if names != [node.name]:
        raise ConfigError(
            f"{path} is the certificate of {', '.join(names) or 'nobody'}, not of {node}: "
            "give each node its own files"
        )


def peer_node(tls: ssl.SSLObject) -> NodeId:
    """Read a connected peer's name from its verified certificate.

    :raises ValueError: if the certificate names no node, or more than one.
    """
    certificate = tls.getpeercert() or {}
    match certificate.get("subjectAltName"):
        case (("DNS", str(name)),):
            return NodeId(name)
        case _:
            pass
    raise ValueError("its certificate does not hold exactly one name, of the kind DNS")
