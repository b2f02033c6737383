"""The descriptor page against a golden picture, and each of its verdicts."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rbcluster.cli.descriptor_page import describe, render_descriptor, shadowed_points
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor.open import Descriptor, LayerSizes
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import (
    BlindedKey,
    DescriptorSigningKey,
    IdentityKey,
    IntroAuthKey,
    IntroEncKey,
    RelayNtorKey,
)
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod

GOLDEN = Path(__file__).parent / "golden" / "descriptor.txt"
NOW = datetime(2026, 2, 6, 14, 30, tzinfo=UTC)
EXPIRES_AT = datetime(2026, 2, 8, 20, tzinfo=UTC)


def point(number: int, relay: int, *, with_ipv6: bool = False) -> IntroPoint:
    port = (9001).to_bytes(2)
    specifiers = [
        LinkSpecifier(LinkType.IPV4, bytes([192, 0, 2, relay]) + port),
        LinkSpecifier(LinkType.LEGACY_ID, bytes([relay]) * 20),
        LinkSpecifier(LinkType.ED25519_ID, bytes([relay]) * 32),
    ]
    if with_ipv6:
        specifiers.append(LinkSpecifier(LinkType.IPV6, b"\x20\x01\x0d\xb8".ljust(16, b"\1") + port))
    return IntroPoint(
        link_specifiers=tuple(specifiers),
        onion_key=RelayNtorKey(bytes([number, 1]) * 16),
        auth_key=IntroAuthKey(bytes([number, 2]) * 16),
        enc_key=IntroEncKey(bytes([number, 3]) * 16),
    )


@pytest.fixture
def descriptor() -> Descriptor:
    return Descriptor(
        address=OnionAddress(IdentityKey(bytes(32))),
        period=TimePeriod(number=20490, length_min=1440),
        revision=RevisionCounter(1_713_204_511),
        lifetime=timedelta(minutes=180),
        blinded_key=BlindedKey(b"\xbb" * 32),
        signing_key=DescriptorSigningKey(b"\xdd" * 32),
        signing_cert_expires_at=EXPIRES_AT,
        points=(point(1, 1, with_ipv6=True), point(2, 2), point(3, 3)),
        points_expire_at=(EXPIRES_AT,) * 3,
        traits=ServiceTraits(flow_control=("1-2", 31)),
        pow_params=None,
        num_auth_clients=16,
        restricted=False,
        sizes=LayerSizes(outer=14_111, middle=10_000, inner=2_292),
    )


def draw(descriptor: Descriptor, now: datetime = NOW) -> str:
    file = io.StringIO()
    console = Console(file=file, width=80, color_system=None, _environ={})
    console.print(render_descriptor(descriptor, now))
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


def listed(descriptor: Descriptor) -> Any:
    return describe(descriptor, NOW)["intro_points"]


def test_the_page_is_the_golden_one(descriptor: Descriptor) -> None:
    page = draw(descriptor)
    assert page == GOLDEN.read_text(encoding="utf-8")
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (timedelta(seconds=-1), "VALID   every signature and date holds"),
        (timedelta(0), "EXPIRED   0 s ago: clients refuse it"),
        (timedelta(hours=3), "EXPIRED   3 h ago: clients refuse it"),
    ],
)
def test_an_expired_one_is_called_so(
    descriptor: Descriptor, after: timedelta, verdict: str
) -> None:
    assert verdict in draw(descriptor, EXPIRES_AT + after)
    assert describe(descriptor, EXPIRES_AT + after)["expired"] is ("EXPIRED" in verdict)


def test_one_expired_introduction_point_makes_clients_refuse_all(descriptor: Descriptor) -> None:
    mixed = replace(descriptor, points_expire_at=(EXPIRES_AT, NOW, EXPIRES_AT))
    assert "EXPIRED" in draw(mixed)


def test_one_without_introduction_points_is_called_empty(descriptor: Descriptor) -> None:
    page = draw(replace(descriptor, points=(), points_expire_at=()))
    assert "EMPTY   no introduction point: nobody can reach the service" in page
    assert "auth key" not in page


def test_a_point_behind_another_on_its_relay_is_called_out_of_reach(
    descriptor: Descriptor,
) -> None:
    doubled = replace(descriptor, points=(point(1, 7), point(2, 8), point(3, 7)))
    assert shadowed_points(doubled) == {2: 0}
    page = draw(doubled)
    assert "VALID   but 1 introduction point out of reach" in page
    assert "out of reach: 1 has" in page
    (_, _, last) = listed(doubled)
    assert last["shadowed_by"] == 0


def test_what_few_services_have_is_said_where_it_is(descriptor: Descriptor) -> None:
    page = draw(
        replace(
            descriptor,
            traits=ServiceTraits(single_onion_service=True, intro_auth_required=("ed25519",)),
            pow_params="v1 AAAA 5 2026-02-06T15:00:00",
            restricted=True,
        )
    )
    for said in (
        "not offered: downloads are slower",
        "single onion: it does not hide",
        "intro auth    ed25519",
        "proof of work v1 AAAA 5",
        "authorized ones only",
    ):
        assert said in page


def test_the_dates_of_a_period_are_given_for_the_public_network_only(
    descriptor: Descriptor,
) -> None:
    assert "20490, 2026-02-06 12:00 to 2026-02-07 12:00 UTC" in draw(descriptor)
    short = replace(descriptor, period=TimePeriod(number=7_480_498, length_min=4))
    assert "period        7480498 of 4 min\n" in draw(short)


def test_a_certificate_dated_ahead_is_not_from_the_future(descriptor: Descriptor) -> None:
    page = draw(descriptor, EXPIRES_AT - timedelta(hours=54, minutes=20))
    assert "certified     about 2026-02-06 13:40 UTC, 0 s ago" in page


def test_json_names_keys_relays_and_places(descriptor: Descriptor) -> None:
    (first, *_) = listed(descriptor)
    assert first == {
        "relay": "01" * 20,
        "relay_ed25519_id": "01" * 32,
        "relay_addresses": ["192.0.2.1:9001", "[2001:db8:101:101:101:101:101:101]:9001"],
        "auth_key": "0102" * 16,
        "enc_key": "0103" * 16,
        "onion_key": "0101" * 16,
        "expires_at": "2026-02-08T20:00:00+00:00",
        "shadowed_by": None,
    }


def test_a_point_whose_relay_has_no_ed25519_identity_is_shown(descriptor: Descriptor) -> None:
    bare = replace(
        point(1, 1), link_specifiers=(LinkSpecifier(LinkType.LEGACY_ID, bytes([5]) * 20),)
    )
    lone = replace(descriptor, points=(bare,), points_expire_at=(EXPIRES_AT,))
    (shown,) = listed(lone)
    assert (shown["relay_ed25519_id"], shown["relay_addresses"]) == (None, [])
    assert "05" * 20 in draw(lone)
