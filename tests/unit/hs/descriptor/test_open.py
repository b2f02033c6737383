from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import (
    DecryptionError,
    DescriptorError,
    DescriptorLimitError,
    ParseError,
    VerificationError,
)
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor import (
    DescriptorContent,
    find_period,
    open_descriptor,
    read_blinded_key,
    read_revision,
)
from rbcluster.hs.descriptor.derived_keys import derive_signing_keypair
from rbcluster.hs.descriptor.inner import encode_inner
from rbcluster.hs.keys import IdentityKey, IdentityKeypair
from rbcluster.hs.time_period import TimePeriod

Sealer = Callable[..., bytes]


def test_the_outer_layer_tells_whose_and_which(
    document: bytes, address: OnionAddress, period: TimePeriod
) -> None:
    opened = open_descriptor(document, address, period)
    assert read_blinded_key(document) == opened.blinded_key
    assert read_revision(document) == opened.revision == 1_234_567_890
    assert (opened.address, opened.period) == (address, period)


def test_the_period_is_found_among_candidates(
    document: bytes, address: OnionAddress, period: TimePeriod
) -> None:
    candidates = iter([period.previous(), period, period.next()])
    assert find_period(document, address, candidates) == period


def test_a_descriptor_of_no_candidate_is_refused(
    document: bytes, address: OnionAddress, period: TimePeriod
) -> None:
    with pytest.raises(VerificationError, match=r"the time periods tried \(20488, 20490\); check"):
        find_period(document, address, [period.previous(), period.next()])
    with pytest.raises(VerificationError, match=r"tried \(none\)"):
        find_period(document, address, [])


def test_a_period_of_the_same_number_and_another_length_is_another(
    document: bytes, address: OnionAddress, period: TimePeriod
) -> None:
    with pytest.raises(VerificationError):
        open_descriptor(document, address, TimePeriod(number=period.number, length_min=720))


def test_a_descriptor_of_another_address_or_period_is_refused(
    document: bytes, address: OnionAddress, period: TimePeriod
) -> None:
    other = OnionAddress(IdentityKeypair.from_seed(bytes(32)).public)
    for whose, when in ((other, period), (address, period.next())):
        with pytest.raises(VerificationError, match="outer layer: the blinded key is not that of"):
            open_descriptor(document, whose, when)


def test_an_address_that_is_no_point_of_the_curve_is_refused(
    document: bytes, period: TimePeriod
) -> None:
    with pytest.raises(VerificationError):
        open_descriptor(document, OnionAddress(IdentityKey(bytes([2]) * 32)), period)


@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_changed_byte_is_refused(
    document: bytes, address: OnionAddress, period: TimePeriod, position: int, change: int
) -> None:
    changed = bytearray(document)
    changed[position % (len(document) - 1)] ^= change
    with pytest.raises(DescriptorError):
        open_descriptor(bytes(changed), address, period)


@given(length=st.integers(min_value=0))
def test_a_cut_document_is_refused(
    document: bytes, address: OnionAddress, period: TimePeriod, length: int
) -> None:
    with pytest.raises(DescriptorError):
        open_descriptor(document[: length % (len(document) - 1)], address, period)


@given(inner=st.binary(max_size=200))
def test_a_signed_document_with_any_inner_layer_is_refused(
    seal: Sealer, address: OnionAddress, period: TimePeriod, inner: bytes
) -> None:
    with pytest.raises(DescriptorError):
        open_descriptor(seal(b"introduction-point\n" + inner), address, period)


@given(middle=st.binary(max_size=200))
def test_a_signed_document_with_any_middle_layer_is_refused(
    seal: Sealer, address: OnionAddress, period: TimePeriod, middle: bytes
) -> None:
    with pytest.raises(DescriptorError):
        open_descriptor(seal(b"", middle=middle), address, period)


def test_an_inner_layer_with_a_wrong_mac_is_refused_without_a_reason(
    seal: Sealer, address: OnionAddress, period: TimePeriod
) -> None:
    locked = seal(b"create2-formats 2\n", cookie=bytes(16))
    with pytest.raises(DecryptionError, match="inner layer: it can't be opened"):
        open_descriptor(locked, address, period)


def test_a_document_without_points_opens(
    seal: Sealer, address: OnionAddress, period: TimePeriod
) -> None:
    opened = open_descriptor(seal(b"create2-formats 2\n"), address, period)
    assert opened.points == ()
    assert opened.expires_at == opened.signing_cert_expires_at
    assert opened.sizes.inner == len(b"create2-formats 2\n")


def test_21_points_are_refused(
    seal: Sealer,
    make_content: Callable[..., DescriptorContent],
    now: datetime,
    address: OnionAddress,
    period: TimePeriod,
) -> None:
    content = make_content(21)
    signer = derive_signing_keypair(content.keypair)
    inner = encode_inner(content.traits, content.points, signer, now)
    with pytest.raises(DescriptorLimitError, match="inner layer: 21 introduction points"):
        open_descriptor(seal(inner), address, period)


def test_proof_of_work_is_shown(seal: Sealer, address: OnionAddress, period: TimePeriod) -> None:
    document = seal(b"create2-formats 2\npow-params v1 c2VlZA 0 2026-02-05T17:00:00\n")
    opened = open_descriptor(document, address, period)
    assert opened.pow_params == "v1 c2VlZA 0 2026-02-05T17:00:00"


def test_an_error_names_layer_line_and_remedy(
    seal: Sealer, address: OnionAddress, period: TimePeriod
) -> None:
    with pytest.raises(ParseError) as caught:
        open_descriptor(seal(b"create2-formats 2\nflow-control 1-2 x\n"), address, period)
    assert str(caught.value) == (
        "inner layer, line 2 ('flow-control'): 'x' is no number up to 255; "
        "fetch the descriptor again"
    )
