from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import DescriptorLimitError, ParseError, VerificationError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair, derive_subcredential
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor, open_descriptor
from rbcluster.hs.descriptor.document import Layer
from rbcluster.hs.descriptor.layer_crypto import LayerSecret, decrypt_layer
from rbcluster.hs.descriptor.middle import MiddleLayer, parse_middle
from rbcluster.hs.descriptor.outer import parse_outer
from rbcluster.hs.intro_point import LinkSpecifier, ServiceTraits
from rbcluster.hs.keys import IdentityKeypair
from rbcluster.hs.time_period import TimePeriod

ContentFactory = Callable[..., DescriptorContent]


def counting_rng() -> Callable[[int], bytes]:
    """Give another value at each call."""
    counter = itertools.count(1)
    return lambda num_bytes: next(counter).to_bytes(num_bytes)


@given(
    num_points=st.integers(1, 20),
    first=st.integers(0, 2**32),
    revision=st.integers(0, 2**64 - 1),
)
def test_what_was_built_is_what_a_client_opens(
    make_content: ContentFactory,
    now: datetime,
    num_points: int,
    first: int,
    revision: int,
) -> None:
    content = make_content(num_points, first, revision=revision)
    document = build_descriptor(content, now, counting_rng())
    opened = open_descriptor(document, OnionAddress(content.identity), content.period)
    assert opened.points == content.points
    assert opened.traits == content.traits
    assert opened.revision == revision
    assert opened.blinded_key == content.keypair.public
    assert opened.lifetime == timedelta(minutes=180)
    assert opened.num_auth_clients == 16
    assert not opened.restricted
    assert opened.pow_params is None
    assert opened.sizes.middle % 10_000 == 0
    assert opened.sizes.outer == len(document)


@pytest.mark.parametrize(
    ("num_points", "size"),
    [
        *((n, 14_100) for n in (1, 3, 7)),
        *((n, 27_650) for n in (9, 12, 15)),
        (20, 41_200),
    ],
)
def test_sizes_are_those_of_tor(
    make_content: ContentFactory, now: datetime, num_points: int, size: int
) -> None:
    document = build_descriptor(make_content(num_points), now, counting_rng())
    assert abs(len(document) - size) < 100


def texts(document: bytes, content: DescriptorContent) -> tuple[bytes, MiddleLayer, bytes]:
    """Take a document apart: what stands around the ciphertext, the middle and inner layer."""
    outer = parse_outer(document)
    secret = LayerSecret(
        blinded_key=outer.blinded_key,
        subcredential=derive_subcredential(content.identity, outer.blinded_key),
        revision=outer.revision,
    )
    middle = parse_middle(decrypt_layer(Layer.MIDDLE, outer.superencrypted, secret))
    inner = decrypt_layer(Layer.INNER, middle.encrypted, secret)
    head = document.partition(b"-----BEGIN MESSAGE-----")[0]
    return head, replace(middle, encrypted=b""), inner


def test_another_build_differs_in_ciphertext_and_signature_only(
    make_content: ContentFactory, now: datetime
) -> None:
    content, rng = make_content(5), counting_rng()
    one, two = (build_descriptor(content, now, rng) for _ in range(2))
    assert texts(one, content) == texts(two, content)
    assert len(one) == len(two)
    assert parse_outer(one).superencrypted != parse_outer(two).superencrypted


def test_each_layer_gets_a_salt_of_its_own(make_content: ContentFactory, now: datetime) -> None:
    drawn: list[int] = []

    def rng(num_bytes: int) -> bytes:
        drawn.append(num_bytes)
        return bytes(num_bytes)

    build_descriptor(make_content(), now, rng)
    assert drawn == [16, 16]


def test_a_refresh_keeps_what_tor_keeps_for_the_period(
    make_content: ContentFactory, now: datetime
) -> None:
    contents = make_content(3), make_content(7, 50, revision=99_999_999_999)
    moments = now, now + timedelta(hours=2)
    documents = [
        build_descriptor(content, moment, counting_rng())
        for content, moment in zip(contents, moments, strict=True)
    ]
    first, later = (
        texts(document, content) for document, content in zip(documents, contents, strict=True)
    )
    assert parse_outer(documents[0]).signing_key == parse_outer(documents[1]).signing_key
    assert first[1] == later[1]  # ephemeral key and auth-client lines
    assert (first[0], first[2]) != (later[0], later[2])


@pytest.mark.parametrize(
    ("minute", "second", "signing_hour"), [(0, 0, 12), (0, 1, 13), (30, 0, 13), (59, 59, 13)]
)
def test_certificates_last_54_hours_from_the_full_hour_that_tor_takes(
    make_content: ContentFactory, minute: int, second: int, signing_hour: int
) -> None:
    at, content = datetime(2026, 2, 5, 12, minute, second, tzinfo=UTC), make_content(2)
    document = build_descriptor(content, at, counting_rng())
    opened = open_descriptor(document, OnionAddress(content.identity), content.period)
    lasting = timedelta(hours=54)
    assert (
        opened.signing_cert_expires_at
        == at.replace(hour=signing_hour, minute=0, second=0) + lasting
    )
    assert set(opened.points_expire_at) == {at.replace(minute=0, second=0) + lasting}
    assert opened.expires_at == opened.points_expire_at[0]


def test_all_traits_are_kept(
    make_content: ContentFactory, now: datetime, address: OnionAddress, period: TimePeriod
) -> None:
    traits = ServiceTraits(
        create2_formats=(2, 3),
        intro_auth_required=("ed25519",),
        single_onion_service=True,
        flow_control=("1-2", 31),
    )
    document = build_descriptor(make_content(traits=traits), now, counting_rng())
    assert open_descriptor(document, address, period).traits == traits


@pytest.mark.parametrize("num_points", [0, 21])
def test_no_points_and_more_than_20_are_refused(
    make_content: ContentFactory, now: datetime, num_points: int
) -> None:
    with pytest.raises(DescriptorLimitError, match=f"{num_points} introduction points.*1 to 20"):
        build_descriptor(make_content(num_points), now, counting_rng())


def test_a_document_that_gets_too_large_is_refused(
    make_content: ContentFactory, now: datetime
) -> None:
    content = make_content(20)
    bulky = tuple(
        replace(
            point, link_specifiers=(*point.link_specifiers, *[LinkSpecifier(9, bytes(255))] * 3)
        )
        for point in content.points
    )
    with pytest.raises(DescriptorLimitError, match=r"has \d{5} bytes"):
        build_descriptor(replace(content, points=bulky), now, counting_rng())


def test_a_blinded_key_of_another_period_is_refused(
    make_content: ContentFactory, now: datetime, identity: IdentityKeypair, period: TimePeriod
) -> None:
    foreign = derive_blinded_keypair(identity, period.next())
    with pytest.raises(VerificationError, match="is not that of time period 20489; derive it"):
        build_descriptor(make_content(keypair=foreign), now, counting_rng())


def test_a_trait_that_would_add_a_line_is_refused(
    make_content: ContentFactory, now: datetime
) -> None:
    traits = ServiceTraits(flow_control=("1-2 31\npow-params v1", 31))
    with pytest.raises(ParseError):
        build_descriptor(make_content(traits=traits), now, counting_rng())


@pytest.mark.parametrize("revision", [-1, 2**64])
def test_a_revision_out_of_range_is_refused(make_content: ContentFactory, revision: int) -> None:
    with pytest.raises(ValueError, match=str(revision)):
        make_content(revision=revision)


def test_no_secret_is_shown(make_content: ContentFactory) -> None:
    content = make_content()
    assert content.keypair.secret.hex() not in repr(content)
    assert repr(content.keypair.secret) not in repr(content)
