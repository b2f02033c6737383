"""Descriptors that tor 0.4.9.11 made: ours reads them, and writes the like."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rbcluster.errors import DecryptionError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair, derive_subcredential
from rbcluster.hs.certificate import Certificate
from rbcluster.hs.descriptor import (
    Descriptor,
    DescriptorContent,
    build_descriptor,
    find_period,
    open_descriptor,
    relay_addresses,
    relay_ed25519_id,
)
from rbcluster.hs.descriptor.document import Layer, Section
from rbcluster.hs.descriptor.enc_key_form import derive_ed25519_form
from rbcluster.hs.descriptor.layer_crypto import LayerSecret, decrypt_layer
from rbcluster.hs.descriptor.middle import parse_middle
from rbcluster.hs.descriptor.outer import parse_outer
from rbcluster.hs.intro_point import ServiceTraits
from rbcluster.hs.keys import IdentityKeypair, IntroEncKey
from rbcluster.hs.time_period import HsTimes, TimePeriod

VECTORS = Path(__file__).parents[3] / "vectors" / "tor-0.4.9.11"
FACTS = json.loads((VECTORS / "capture.json").read_text())
Shape = list[tuple[str, int, str | None, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A service, and the descriptor its tor made."""

    document: bytes
    identity: IdentityKeypair
    captured_at: datetime
    client_key: bytes | None

    @property
    def address(self) -> OnionAddress:
        return OnionAddress(self.identity.public)

    @property
    def period(self) -> TimePeriod:
        times = HsTimes(
            voting_interval=timedelta(seconds=FACTS["voting_interval_s"]),
            period_length=timedelta(minutes=FACTS["period_length_min"]),
        )
        now = TimePeriod.containing(self.captured_at, times)
        return find_period(self.document, self.address, [now.previous(), now, now.next()])

    def open(self) -> Descriptor:
        return open_descriptor(self.document, self.address, self.period, client_key=self.client_key)

    def layers(self, document: bytes) -> tuple[bytes, bytes, bytes]:
        """Take an unrestricted descriptor of this service apart: the text of its three layers."""
        outer = parse_outer(document)
        secret = LayerSecret(
            blinded_key=outer.blinded_key,
            subcredential=derive_subcredential(self.identity.public, outer.blinded_key),
            revision=outer.revision,
        )
        middle_text = decrypt_layer(Layer.MIDDLE, outer.superencrypted, secret)
        middle = parse_middle(middle_text)
        inner_text = decrypt_layer(Layer.INNER, middle.encrypted, secret)
        return document, middle_text, inner_text


def load(name: str, file: str) -> Vector:
    facts = FACTS["services"][name]
    secret = facts.get("client_x25519_secret")
    return Vector(
        document=(VECTORS / file).read_bytes(),
        identity=IdentityKeypair.from_seed(bytes.fromhex(facts["seed"])),
        captured_at=datetime.fromtimestamp(facts["captured_at_unix"], UTC),
        client_key=bytes.fromhex(secret) if secret else None,
    )


SHARED = load("shared", "descriptor.txt")
ORDINARY = load("ordinary", "descriptor-ordinary.txt")
AUTHORIZED = load("authorized", "descriptor-authorized.txt")


def shape(text: bytes) -> Shape:
    """Reduce a layer to what does not depend on keys: keywords, arguments, objects and sizes."""
    items = Section.parse(text.rstrip(b"\0"), Layer.OUTER).items
    return [(item.keyword, len(item.args), item.armour, len(item.data)) for item in items]


def rebuild(vector: Vector) -> bytes:
    """Say the same as tor did."""
    opened = vector.open()
    content = DescriptorContent(
        identity=vector.identity.public,
        period=vector.period,
        keypair=derive_blinded_keypair(vector.identity, vector.period),
        revision=opened.revision,
        points=opened.points,
        traits=opened.traits,
    )
    return build_descriptor(content, vector.captured_at, bytes)


@pytest.mark.parametrize("vector", [SHARED, ORDINARY, AUTHORIZED], ids=["shared", "own", "auth"])
def test_tors_descriptor_opens(vector: Vector) -> None:
    opened = vector.open()
    assert opened.lifetime == timedelta(minutes=180)
    assert opened.num_auth_clients == 16
    assert opened.traits == ServiceTraits(flow_control=("1-2", 31))
    assert opened.pow_params is None
    assert opened.sizes.middle == 10_000
    assert opened.restricted == (vector is AUTHORIZED)


@pytest.mark.parametrize("vector", [ORDINARY, AUTHORIZED], ids=["own", "auth"])
def test_tors_points_are_those_of_its_network(vector: Vector) -> None:
    points = vector.open().points
    assert len(points) == 3
    consensus = (VECTORS / "consensus-microdesc.txt").read_text()
    ports = set(re.findall(r"(?m)^r .* 127\.0\.0\.1 (\d+) \d+$", consensus))
    for point in points:
        (address,) = relay_addresses(point)
        assert address.removeprefix("127.0.0.1:") in ports
        assert relay_ed25519_id(point) is not None


def test_a_restricted_descriptor_of_tor_needs_the_clients_key() -> None:
    for key in (None, bytes([0x44]) * 32):
        with pytest.raises(DecryptionError):
            open_descriptor(
                AUTHORIZED.document, AUTHORIZED.address, AUTHORIZED.period, client_key=key
            )


def test_a_clients_key_does_no_harm_where_none_is_needed() -> None:
    opened = open_descriptor(
        ORDINARY.document, ORDINARY.address, ORDINARY.period, client_key=bytes([0x44]) * 32
    )
    assert opened == ORDINARY.open()


def test_the_same_content_gives_a_document_of_the_same_size_and_the_same_lines() -> None:
    ours = rebuild(ORDINARY)
    assert len(ours) == len(ORDINARY.document)
    for mine, tors in zip(ORDINARY.layers(ours), ORDINARY.layers(ORDINARY.document), strict=True):
        assert len(mine) == len(tors)
        assert shape(mine) == shape(tors)


def test_the_same_content_is_dated_as_tor_dates_it() -> None:
    opened = ORDINARY.open()
    ours = open_descriptor(rebuild(ORDINARY), ORDINARY.address, ORDINARY.period)
    assert ours.signing_cert_expires_at == opened.signing_cert_expires_at
    assert ours.points_expire_at == opened.points_expire_at


def test_what_tor_wrote_and_no_key_changes_is_written_alike() -> None:
    tors, ours = (
        ORDINARY.layers(document)[2].decode() for document in (ORDINARY.document, rebuild(ORDINARY))
    )
    plain = re.compile(r"(?m)^(?:create2|flow|introduction|onion-key|enc-key ).*$")
    assert plain.findall(ours) == plain.findall(tors)
    assert len(plain.findall(tors)) == 2 + 3 * 3


def test_tor_certifies_the_enc_key_in_the_form_we_derive() -> None:
    inner = Section.parse(ORDINARY.layers(ORDINARY.document)[2], Layer.INNER)
    for key, cert in zip(inner.every("enc-key"), inner.every("enc-key-cert"), strict=True):
        certified = Certificate.from_bytes(cert.object("ED25519 CERT")).certified_key
        assert certified == derive_ed25519_form(IntroEncKey(key.base64(1, 32)))
