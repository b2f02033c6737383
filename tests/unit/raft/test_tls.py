from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbcluster.core.ids import NodeId
from rbcluster.errors import ConfigError
from rbcluster.raft.tls import load_contexts
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
