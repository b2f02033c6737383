"""A certificate that is due is renewed over the link: by an issuer, for the asker's own name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rbcluster import pki
from rbcluster.certification import Validity, begin_renewal, make_key, make_request
from rbcluster.config import NodePaths
from rbcluster.core.ids import NodeId
from rbcluster.enrolment.renewal import PREFIX, Renewal

A, B, C = (NodeId(name) for name in "abc")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DUE = NOW + timedelta(days=250)
AUTHORITY = pki.create_authority("test", NOW)


class Wire:
    """The links of one node: what it tells the others arrives at once."""

    def __init__(self, net: Net, node: NodeId) -> None:
        self.net, self.node = net, node
        self.num_reloads = 0
        self.told: list[NodeId] = []

    def tell(self, peer: NodeId, payload: bytes) -> bool:
        if peer not in self.net.nodes:
            return False
        self.told.append(peer)
        self.net.nodes[peer].hear(self.node, payload)
        return True

    def reload_certificate(self) -> None:
        self.num_reloads += 1


class Net:
    """Nodes b and c, and a, which holds the authority."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.monotonic_s = 0.0
        self.issuers = {A}
        self.wires: dict[NodeId, Wire] = {}
        self.nodes: dict[NodeId, Renewal] = {}
        for node in (A, B, C):
            paths = NodePaths(directory / node.name)
            certificate = pki.issue_certificate(AUTHORITY, node, NOW)
            pki.write_node_tls(paths.tls_dir, AUTHORITY, certificate)
            self.wires[node] = Wire(self, node)
            self.nodes[node] = Renewal(
                node=node,
                paths=paths,
                links=self.wires[node],
                issuers=lambda: self.issuers,
                now=lambda: self.now,
                monotonic_s=lambda: self.monotonic_s,
            )
        pki.write_authority(self.nodes[A].paths.authority_dir, AUTHORITY)

    def ends_at(self, node: NodeId) -> datetime:
        return Validity.of(self.nodes[node].paths.tls_dir).ends_at


@pytest.fixture(name="net")
def three_nodes(tmp_path: Path) -> Net:
    return Net(tmp_path)


def renewed(net: Net, node: NodeId) -> bool:
    return net.ends_at(node) > NOW + timedelta(days=400)


def test_nothing_happens_before_it_is_time(net: Net) -> None:
    net.now = NOW + timedelta(days=240)
    for node in net.nodes.values():
        node.renew_if_due()
    assert not any(renewed(net, node) for node in net.nodes)
    assert net.nodes[B].ends_at == round(1000 * net.ends_at(B).timestamp())


@pytest.mark.parametrize("node", [A, B])
def test_what_is_due_is_renewed_and_shown_at_once(net: Net, node: NodeId) -> None:
    net.now = DUE
    net.nodes[node].renew_if_due()
    assert renewed(net, node)
    assert net.wires[node].num_reloads == 1
    assert net.nodes[node].ends_at == round(1000 * net.ends_at(node).timestamp())
    pki.verify_node_tls(net.nodes[node].paths.tls_dir, node, DUE)


def test_without_an_issuer_it_is_tried_again(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    net.now = DUE
    issuer = net.nodes.pop(A)
    net.nodes[B].renew_if_due()
    assert "no issuer is connected" in caplog.text
    net.nodes[A] = issuer
    net.nodes[B].renew_if_due()
    assert renewed(net, B)


def test_whoever_says_it_holds_the_authority_is_asked_and_only_a_true_one_answers(net: Net) -> None:
    net.now, net.issuers = DUE, set()
    net.nodes[B].renew_if_due()
    assert not renewed(net, B)
    net.issuers = {A, C}  # c lies, or held it until just now
    net.nodes[B].renew_if_due()
    assert renewed(net, B)
    assert not renewed(net, C)


def test_a_node_that_asks_without_end_is_certified_once_a_minute(net: Net) -> None:
    request = begin_renewal(net.nodes[B].paths.tls_dir, B).decode().replace("\n", "\\n")
    asking = PREFIX + b'{"kind": "renew", "pem": "%s"}' % request.encode()
    for net.monotonic_s, sender in [(0, B), (1, B), (2, C), (59, B), (60, B), (61, B)]:
        net.nodes[A].hear(sender, asking)
    assert net.wires[A].told == [B, B]  # c's was a request of b: refused, and b's turns untouched


def test_no_node_gets_the_certificate_of_another(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    net.now = DUE
    pem = make_request(A, make_key()).decode().replace("\n", "\\n")
    net.nodes[A].hear(B, PREFIX + b'{"kind": "renew", "pem": "%s"}' % pem.encode())
    assert "not one of b" in caplog.text
    assert not renewed(net, A)


def test_a_node_without_the_authority_certifies_nobody(net: Net) -> None:
    request = begin_renewal(net.nodes[B].paths.tls_dir, B).decode().replace("\n", "\\n")
    net.nodes[C].hear(B, PREFIX + b'{"kind": "renew", "pem": "%s"}' % request.encode())
    assert not renewed(net, B)


@pytest.mark.parametrize("said", [b"", b"{", b'{"kind": "certificate", "pem": "x"}'])
def test_what_makes_no_sense_is_logged(
    net: Net, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    begin_renewal(net.nodes[B].paths.tls_dir, B)
    net.nodes[B].hear(A, PREFIX + said)
    assert "could not be renewed" in caplog.text
