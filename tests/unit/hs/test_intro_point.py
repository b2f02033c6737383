"""Introduction points: which relay one is on, and what makes it another one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import IntroAuthKey, IntroEncKey, RelayNtorKey

IPV4 = LinkSpecifier(LinkType.IPV4, bytes([127, 0, 0, 1, 0x23, 0x29]))
LEGACY = LinkSpecifier(LinkType.LEGACY_ID, bytes(range(20)))
ED25519 = LinkSpecifier(LinkType.ED25519_ID, bytes(32))
UNKNOWN = LinkSpecifier(77, b"of a later tor")
POINT = IntroPoint(
    link_specifiers=(IPV4, LEGACY, ED25519, UNKNOWN),
    onion_key=RelayNtorKey(b"\x01" * 32),
    auth_key=IntroAuthKey(b"\x02" * 32),
    enc_key=IntroEncKey(b"\x03" * 32),
)


def test_an_introduction_point_is_on_the_relay_of_its_legacy_identity() -> None:
    assert POINT.relay == Fingerprint(bytes(range(20)))


def test_link_specifiers_of_unknown_kinds_are_kept_in_order() -> None:
    assert POINT.link_specifiers[-1] == UNKNOWN


def test_two_points_on_one_relay_differ_by_their_auth_key() -> None:
    other = replace(POINT, auth_key=IntroAuthKey(b"\x04" * 32))
    assert other.relay == POINT.relay
    assert other != POINT


@pytest.mark.parametrize("links", [(), (IPV4, ED25519), (LEGACY, IPV4, LEGACY)])
def test_a_point_names_its_relay_exactly_once(links: tuple[LinkSpecifier, ...]) -> None:
    with pytest.raises(ValueError, match="names its relay once"):
        replace(POINT, link_specifiers=links)


@pytest.mark.parametrize("length", [0, 19, 21])
def test_a_legacy_identity_takes_20_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="takes 20 bytes"):
        replace(POINT, link_specifiers=(LinkSpecifier(LinkType.LEGACY_ID, bytes(length)),))


def test_a_service_is_by_default_one_that_any_client_can_use() -> None:
    traits = ServiceTraits()
    assert traits.create2_formats == (2,)
    assert traits.intro_auth_required == ()
    assert not traits.single_onion_service
    assert traits.flow_control is None
