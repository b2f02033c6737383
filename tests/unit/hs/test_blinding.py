"""Key blinding: a known answer, and that public and secret halves agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.errors import VerificationError
from rbcluster.hs.blinding import (
    derive_blinded_key,
    derive_blinded_keypair,
    derive_blinding_factor,
    derive_subcredential,
)
from rbcluster.hs.keys import BlindedKey, IdentityKey, IdentityKeypair, Subcredential, clamp
from rbcluster.hs.time_period import TimePeriod

KEYPAIR = IdentityKeypair.from_seed(
    bytes.fromhex("454cf9d7990b659e44900c12cd623bebd514eba5709cf0356cbfe224da47cbaf")
)
PERIOD = TimePeriod(number=20489, length_min=1440)
BLINDED = BlindedKey(
    bytes.fromhex("c42cba968b1d5526b22da6efa5942305e768b7d87ebfd59a9161f1d9f577c5b9")
)


def test_a_known_identity_has_the_known_blinded_key() -> None:
    assert derive_blinded_key(KEYPAIR.public, PERIOD) == BLINDED
    assert derive_blinded_keypair(KEYPAIR, PERIOD).public == BLINDED


@given(
    seed=st.binary(min_size=32, max_size=32),
    number=st.integers(0, 2**32),
    length_min=st.integers(1, 14_400),
)
def test_clients_and_service_derive_the_same_blinded_key(
    seed: bytes, number: int, length_min: int
) -> None:
    keypair = IdentityKeypair.from_seed(seed)
    period = TimePeriod(number=number, length_min=length_min)
    blinded = derive_blinded_keypair(keypair, period)
    assert derive_blinded_key(keypair.public, period) == blinded.public
    blinded.public.verify(blinded.sign(b"descriptor"), b"descriptor")


@pytest.mark.parametrize(
    "other", [PERIOD.next(), PERIOD.previous(), TimePeriod(number=20489, length_min=1439)]
)
def test_another_period_has_another_blinded_key(other: TimePeriod) -> None:
    assert derive_blinded_key(KEYPAIR.public, other) != BLINDED


def test_number_and_length_of_a_period_are_not_interchangeable() -> None:
    one, other = TimePeriod(number=4, length_min=8), TimePeriod(number=8, length_min=4)
    assert derive_blinding_factor(KEYPAIR.public, one) != derive_blinding_factor(
        KEYPAIR.public, other
    )


def test_a_blinding_factor_is_a_clamped_scalar() -> None:
    factor = derive_blinding_factor(KEYPAIR.public, PERIOD)
    assert factor == clamp(factor)


def test_a_known_identity_has_the_known_subcredential() -> None:
    known = "7863f9409429ca5eb3d3ca19457cb611e9a57e324ca7dd7587c4194532ff740a"
    assert derive_subcredential(KEYPAIR.public, BLINDED) == Subcredential(bytes.fromhex(known))


def test_an_identity_that_is_no_point_is_refused() -> None:
    with pytest.raises(VerificationError, match="not a point"):
        derive_blinded_key(IdentityKey(bytes(32)), PERIOD)
