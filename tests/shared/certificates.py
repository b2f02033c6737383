"""Certificates for tests: authorities made on the spot, in a directory of the test's own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rbcluster import pki
from rbcluster.core.ids import NodeId
from rbcluster.raft.tls import TlsFiles


def tls_files(directory: Path, nodes: Iterable[NodeId]) -> dict[NodeId, TlsFiles]:
    """Found an authority and certify nodes; each call founds another one."""
    now = datetime.now(UTC)
    authority = pki.create_authority("test", now)
    files = {}
    for node in nodes:
        certificate = pki.issue_certificate(authority, node, now)
        target = directory / node.name
        target.mkdir(parents=True)
        pki.write_node_tls(target, authority, certificate)
        paths = pki.NodeTls(target)
        files[node] = TlsFiles(ca=paths.authority, cert=paths.certificate, key=paths.key)
    return files
