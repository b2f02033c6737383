"""Joining a cluster: the new machine's side. Nothing is trusted but what the token pins.

The private key is made here and stays here. Nothing is written before the host has answered, and
nothing is ever written over. Once the token was shown it may be spent, whatever comes of it: each
error from there on says how to begin anew.

Not here: the other side (`host.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from rbcluster.certification import (
    check_issued,
    fingerprint,
    make_key,
    make_request,
    parse_certificate,
)
from rbcluster.config import NodePaths
from rbcluster.core.ids import NodeId
from rbcluster.endpoint import HostPort, explain
from rbcluster.enrolment.exchange import (
    MAX_MESSAGE_BYTES,
    Admission,
    Answer,
    JoinRequest,
    Welcome,
    receive,
    send,
)
from rbcluster.enrolment.token import Token
from rbcluster.errors import ConfigError, ParseError
from rbcluster.hs.identity import parse_tor_secret_key
from rbcluster.pki import NodeTls, verify_node_tls, write_certificate, write_key
from rbcluster.tor.key_directory import write_key_directory

JOIN_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Membership:
    """What a new node came back with."""

    key: ec.EllipticCurvePrivateKey
    authority: x509.Certificate
    admission: Admission


async def ask_to_join(token: Token, node: NodeId, address: HostPort) -> Membership:
    """Show the token, and be let in.

    :param address: where this node's peers will reach it.
    :raises ConfigError: if nobody is there, it is somebody else, the token is refused, or the
        answer was lost.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `_pinned` does it
    key, is_shown = make_key(), False
    try:
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                token.address.host, token.address.port, ssl=context, limit=MAX_MESSAGE_BYTES
            )
            try:
                authority = _pinned(await receive(reader, Welcome), token, writer)
                request = JoinRequest(
                    secret=token.secret,
                    node=node.name,
                    address=str(address),
                    request=make_request(node, key).decode(),
                )
                is_shown = True
                await send(writer, request)
                answer = await receive(reader, Answer)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ParseError) as error:
        why = str(error) if isinstance(error, ParseError) else explain(error)
        if is_shown:
            raise ConfigError(
                f"{token.address} was shown the token, and its answer was lost ({why}): "
                f"{_begin_anew(node)}"
            ) from error
        raise ConfigError(
            f"{token.address} can't be asked ({why}): is the invitation still open?"
        ) from error
    if answer.admission is None:
        raise ConfigError(f"not let in: {answer.rejection}")
    return Membership(key, authority, answer.admission)


def _begin_anew(node: NodeId) -> str:
    """Say what to do when a token may be spent and this machine is no node all the same."""
    return (
        f"the token may be spent. See `rbcluster status` on a node of the cluster: if it names "
        f"{node}, `rbcluster remove {node}` there; then invite anew"
    )


def _pinned(welcome: Welcome, token: Token, writer: asyncio.StreamWriter) -> x509.Certificate:
    """Check that who answers was certified by the authority that the token pins.

    TLS has proven that it holds the key of its certificate. Only after this is the secret shown.
    """
    authority = parse_certificate(welcome.authority.encode())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if fingerprint(authority) != token.authority or not shown:
        raise ConfigError(f"{token.address} is not of the cluster that the token is for")
    certificate = x509.load_der_x509_certificate(shown)
    check_issued(certificate, authority)
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ConfigError(f"{token.address}: its certificate does not hold now: check both clocks")
    return authority


def settle_in(membership: Membership, node: NodeId, data_dir: Path, config_path: Path) -> None:
    """Write down all that a new node needs to run.

    :raises ConfigError: if something is there already, can't be written, or does not fit.
    """
    try:
        _write_down(membership, node, data_dir, config_path)
    except ConfigError as error:
        raise ConfigError(
            f"{error}. Mend that, move away what was written to {data_dir}, and begin anew: "
            f"{_begin_anew(node)}"
        ) from error


def _write_down(membership: Membership, node: NodeId, data_dir: Path, config_path: Path) -> None:
    paths, admission = NodePaths(data_dir), membership.admission
    files = NodeTls(paths.tls_dir)
    write_certificate(files.authority, membership.authority)
    write_certificate(files.certificate, parse_certificate(admission.certificate.encode()))
    write_key(files.key, membership.key)
    verify_node_tls(paths.tls_dir, node, datetime.now(UTC))
    for service, raw in admission.keys.items():
        write_key_directory(paths.key_dir(NodeId(service).name), parse_tor_secret_key(raw))
    try:
        config_path.parent.mkdir(parents=True, exist_ok=True)
        with config_path.open("x", encoding="utf-8") as file:
            file.write(admission.config)
    except OSError as error:
        raise ConfigError(f"{config_path}: can't be written: {error.strerror}") from error


def check_is_free(data_dir: Path, config_path: Path) -> None:
    """Check that nothing would be written over, before a token is spent.

    :raises ConfigError: if something would.
    """
    paths = NodePaths(data_dir)
    for path in (paths.tls_dir, paths.services_dir, config_path):
        if path.exists():
            raise ConfigError(f"{path} exists: nothing is written over; move it away")
