"""A service, its introduction points, and descriptors of it: some as built, some made wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair, derive_subcredential
from rbcluster.hs.certificate import CertType, create_certificate
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor
from rbcluster.hs.descriptor.derived_keys import (
    derive_ephemeral_key,
    derive_fake_clients,
    derive_signing_keypair,
)
from rbcluster.hs.descriptor.document import Layer
from rbcluster.hs.descriptor.layer_crypto import LayerSecret, encrypt_layer
from rbcluster.hs.descriptor.middle import MiddleLayer, encode_middle
from rbcluster.hs.descriptor.outer import encode_outer
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import IdentityKeypair, IntroAuthKey, IntroEncKey, RelayNtorKey
from rbcluster.hs.params import CERT_LIFETIME
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod

NOW = datetime(2026, 2, 5, 17, 42, 7, tzinfo=UTC)
PERIOD = TimePeriod(number=20489, length_min=1440)
IDENTITY = IdentityKeypair.from_seed(
    bytes.fromhex("454cf9d7990b659e44900c12cd623bebd514eba5709cf0356cbfe224da47cbaf")
)
REVISION = RevisionCounter(1_234_567_890)

ContentFactory = Callable[..., DescriptorContent]
Sealer = Callable[..., bytes]


def _bytes_for(label: str, num_bytes: int) -> bytes:
    return hashlib.shake_256(label.encode()).digest(num_bytes)


def _make_point(name: int) -> IntroPoint:
    return IntroPoint(
        link_specifiers=(
            LinkSpecifier(LinkType.IPV4, bytes([192, 0, 2, name % 256]) + (9001).to_bytes(2)),
            LinkSpecifier(LinkType.LEGACY_ID, _bytes_for(f"relay {name}", 20)),
            LinkSpecifier(LinkType.ED25519_ID, _bytes_for(f"relay ed25519 {name}", 32)),
        ),
        onion_key=RelayNtorKey(_bytes_for(f"onion {name}", 32)),
        auth_key=IntroAuthKey(_bytes_for(f"auth {name}", 32)),
        enc_key=IntroEncKey(_bytes_for(f"enc {name}", 32)),
    )


def _make_content(num_points: int = 3, first: int = 0, **changes: object) -> DescriptorContent:
    content = DescriptorContent(
        identity=IDENTITY.public,
        period=PERIOD,
        keypair=derive_blinded_keypair(IDENTITY, PERIOD),
        revision=REVISION,
        points=tuple(_make_point(first + i) for i in range(num_points)),
        traits=ServiceTraits(flow_control=("1-2", 31)),
    )
    return replace(content, **changes)  # type: ignore[arg-type]


def _seal(
    inner: bytes,
    *,
    middle: bytes | None = None,
    clients: tuple[object, ...] | None = None,
    cookie: bytes = b"",
) -> bytes:
    content = _make_content()
    signer = derive_signing_keypair(content.keypair)
    secret = LayerSecret(
        blinded_key=content.keypair.public,
        subcredential=derive_subcredential(content.identity, content.keypair.public),
        revision=content.revision,
    )
    if middle is None:
        encrypted = encrypt_layer(Layer.INNER, inner, secret, bytes(16), cookie=cookie)
        middle = encode_middle(
            MiddleLayer(
                ephemeral_key=derive_ephemeral_key(content.keypair),
                clients=clients or derive_fake_clients(content.keypair),  # type: ignore[arg-type]
                encrypted=encrypted,
            )
        )
    return encode_outer(
        signer=signer,
        certificate=create_certificate(
            CertType.DESCRIPTOR_SIGNING,
            signer.public_bytes(),
            content.keypair,
            NOW + CERT_LIFETIME,
        ),
        revision=content.revision,
        superencrypted=encrypt_layer(Layer.MIDDLE, middle, secret, bytes(16)),
    )


@pytest.fixture(scope="session")
def make_content() -> ContentFactory:
    """Make what a descriptor is to say: `make_content(num_points, first, **changes)`."""
    return _make_content


@pytest.fixture(scope="session")
def make_point() -> Callable[[int], IntroPoint]:
    """Make the introduction point with a number."""
    return _make_point


@pytest.fixture(scope="session")
def seal() -> Sealer:
    """Put any text into the inner (or middle) layer of a descriptor that is otherwise right."""
    return _seal


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def period() -> TimePeriod:
    return PERIOD


@pytest.fixture(scope="session")
def identity() -> IdentityKeypair:
    return IDENTITY


@pytest.fixture(scope="session")
def address() -> OnionAddress:
    return OnionAddress(IDENTITY.public)


@pytest.fixture(scope="session")
def document() -> bytes:
    """A descriptor of three points."""
    return build_descriptor(_make_content(), NOW, bytes)
