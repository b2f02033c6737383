from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rbcluster import pki
from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError
from rbcluster.raft.tls import TlsContexts, TlsFiles, load_contexts, reload_contexts
from tests.shared.certificates import tls_files

A, B = NodeId("a"), NodeId("b")


def test_contexts_demand_certificates_and_nothing_older_than_tls_1_3(tmp_path: Path) -> None:
    contexts = load_contexts(tls_files(tmp_path, [A])[A], A)
    for context in (contexts.server, contexts.client):
        assert context.minimum_version.name == "TLSv1_3"
        assert context.verify_mode.name == "CERT_REQUIRED"
    assert contexts.client.check_hostname


def test_another_nodes_certificate_is_refused_by_name(tmp_path: Path) -> None:
    files = tls_files(tmp_path, [A, B])
    with pytest.raises(ConfigError, match=r"node\.crt is the certificate of b, not of a"):
        load_contexts(files[B], A)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [None, b"", b"garbage"], ids=["missing", "empty", "garbage"])
def test_an_unusable_file_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_bytes(content)
    files = replace(tls_files(tmp_path / "tls", [A])[A], **{name: path})
    with pytest.raises(ConfigError, match=r"broken .*copy"):
        load_contexts(files, A)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    files = tls_files(tmp_path, [A, B])
    with pytest.raises(ConfigError, match="no usable pair"):
        load_contexts(replace(files[A], key=files[B].key), A)


AUTHORITY = pki.create_authority("test", datetime.now(UTC))


def certified(directory: Path) -> TlsFiles:
    """Give node a a new key and a new certificate, in place of any that it has."""
    certificate = pki.issue_certificate(AUTHORITY, A, datetime.now(UTC))
    pki.write_node_tls(directory, AUTHORITY, certificate)
    paths = pki.NodeTls(directory)
    return TlsFiles(ca=paths.authority, cert=paths.certificate, key=paths.key)


def shown_to_each_other(contexts: TlsContexts) -> list[bytes | None]:
    """Let a node meet itself; return what the client showed, and what the server did."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts.client.wrap_bio(back, there, server_hostname="a")
    server = contexts.server.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return [side.getpeercert(binary_form=True) for side in (server, client)]


def test_a_renewed_certificate_is_shown_to_whoever_connects_next(tmp_path: Path) -> None:
    files = certified(tmp_path)
    contexts = load_contexts(files, A)
    before = shown_to_each_other(contexts)
    certified(tmp_path)
    assert shown_to_each_other(contexts) == before
    reload_contexts(contexts, files, A)
    assert shown_to_each_other(contexts) == [ssl.PEM_cert_to_DER_cert(files.cert.read_text())] * 2
    assert before != shown_to_each_other(contexts)


def test_a_pair_that_does_not_fit_leaves_the_former_one_in_place(tmp_path: Path) -> None:
    files = certified(tmp_path)
    contexts = load_contexts(files, A)
    before, key = shown_to_each_other(contexts), files.key.read_bytes()
    certified(tmp_path)
    files.key.write_bytes(key)
    with pytest.raises(ConfigError, match="no usable pair"):
        reload_contexts(contexts, files, A)
    assert shown_to_each_other(contexts) == before
