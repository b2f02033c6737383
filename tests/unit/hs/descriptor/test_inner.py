from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import DescriptorError, DescriptorLimitError, ParseError
from rbcluster.hs.descriptor.inner import encode_inner, parse_inner
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import DescriptorSigningKeypair

SIGNER = DescriptorSigningKeypair.from_seed(bytes(32))
EXPIRES_AT = datetime(2026, 2, 8, 0, tzinfo=UTC)
WORDS = st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True)
TRAITS = st.builds(
    ServiceTraits,
    create2_formats=st.lists(st.integers(0, 0xFFFF)).map(lambda found: (*found, 2)),
    intro_auth_required=st.lists(WORDS).map(tuple),
    single_onion_service=st.booleans(),
    flow_control=st.none() | st.tuples(WORDS, st.integers(0, 255)),
)
PointMaker = Callable[[int], IntroPoint]


@given(traits=TRAITS)
def test_traits_are_read_as_they_were_written(traits: ServiceTraits) -> None:
    text = encode_inner(traits, (), SIGNER, EXPIRES_AT)
    assert parse_inner(text, SIGNER.public).traits == traits


def test_lines_stand_in_the_order_of_tor() -> None:
    traits = ServiceTraits(
        intro_auth_required=("ed25519",), single_onion_service=True, flow_control=("1-2", 31)
    )
    assert encode_inner(traits, (), SIGNER, EXPIRES_AT) == (
        b"create2-formats 2\n"
        b"intro-auth-required ed25519\n"
        b"single-onion-service\n"
        b"flow-control 1-2 31\n"
    )


def test_a_plain_service_has_one_line_of_traits() -> None:
    assert encode_inner(ServiceTraits(), (), SIGNER, EXPIRES_AT) == b"create2-formats 2\n"


def test_points_keep_their_order(make_point: PointMaker) -> None:
    points = tuple(make_point(i) for i in (3, 1, 2))
    text = encode_inner(ServiceTraits(), points, SIGNER, EXPIRES_AT)
    listed = parse_inner(text, SIGNER.public).points
    assert tuple(each.point for each in listed) == points
    assert {each.certs_expire_at for each in listed} == {EXPIRES_AT}


def test_20_points_are_read_and_21_are_refused(make_point: PointMaker) -> None:
    for num_points in (20, 21):
        points = [make_point(i) for i in range(num_points)]
        text = encode_inner(ServiceTraits(), points, SIGNER, EXPIRES_AT)
        if num_points == 20:
            assert len(parse_inner(text, SIGNER.public).points) == 20
        else:
            with pytest.raises(DescriptorLimitError, match="21 introduction points are listed"):
                parse_inner(text, SIGNER.public)


def test_pow_params_are_kept_as_text() -> None:
    text = b"create2-formats 2\npow-params v1 c2VlZA 12 2026-02-05T17:00:00\n"
    assert parse_inner(text, SIGNER.public).pow_params == "v1 c2VlZA 12 2026-02-05T17:00:00"


def test_unknown_lines_are_ignored(make_point: PointMaker) -> None:
    text = encode_inner(ServiceTraits(), [make_point(1)], SIGNER, EXPIRES_AT)
    foreign = b"unheard-of\n-----BEGIN THING-----\nAAAA\n-----END THING-----\n"
    edited = text.replace(b"introduction-point", foreign + b"introduction-point") + foreign
    assert parse_inner(edited, SIGNER.public) == parse_inner(text, SIGNER.public)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "first line is not 'create2-formats'"),
        ("flow-control 1-2 31\ncreate2-formats 2\n", "first line is not 'create2-formats'"),
        ("create2-formats\n", r"the ntor handshake \(2\) is not offered"),
        ("create2-formats 1 3\n", r"the ntor handshake \(2\) is not offered"),
        ("create2-formats 2 x\n", "'x' is no number up to 65535"),
        ("create2-formats 2\ncreate2-formats 2\n", "a second time"),
        ("create2-formats 2\nintro-auth-required\n", "arguments are too few"),
        ("create2-formats 2\nflow-control 1-2\n", "arguments are too few"),
        ("create2-formats 2\nflow-control 1-2 256\n", "'256' is no number up to 255"),
        ("create2-formats 2\nflow-control 1-2 99999999999999999999999\n", "no number up to 255"),
        ("create2-formats 2\npow-params v1\npow-params v1\n", "a second time"),
        ("create2-formats 2\nsingle-onion-service\nsingle-onion-service\n", "a second time"),
    ],
)
def test_a_wrong_line_is_refused_by_name(text: str, what: str) -> None:
    with pytest.raises(ParseError, match=f"inner layer.*{what}.*; fetch"):
        parse_inner(text.encode(), SIGNER.public)


@pytest.mark.parametrize(
    "traits",
    [
        ServiceTraits(create2_formats=()),
        ServiceTraits(create2_formats=(1,)),
        ServiceTraits(flow_control=("1-2 31\nsingle-onion-service", 31)),
        ServiceTraits(intro_auth_required=("",)),
    ],
)
def test_traits_that_clients_would_refuse_or_misread_are_not_written(traits: ServiceTraits) -> None:
    with pytest.raises(ParseError):
        encode_inner(traits, (), SIGNER, EXPIRES_AT)


@given(position=st.integers(0, 900), byte=st.integers(0, 255), data=st.data())
def test_a_changed_byte_is_read_or_a_descriptor_error(
    make_point: PointMaker, position: int, byte: int, data: st.DataObject
) -> None:
    text = bytearray(encode_inner(ServiceTraits(), [make_point(1)], SIGNER, EXPIRES_AT))
    text[position % len(text)] = byte
    extra = data.draw(st.binary(max_size=20))
    try:
        inner = parse_inner(bytes(text) + extra, SIGNER.public)
    except DescriptorError:
        return
    assert len(inner.points) <= 1
