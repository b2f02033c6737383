"""A descriptor's inner layer: what a client needs to reach the service.

    create2-formats 2
    intro-auth-required           (optional; what a client must have)
    single-onion-service          (optional)
    flow-control                  (optional)
    pow-params                    (optional; read, never written)
    introduction-point ...        (0..20 times)

Spec: rend-spec-v3 2.5.2 [HS-DESC-SECOND-LAYER]; proposal 324 (flow-control), 327 (pow-params).

Overview::

    InnerLayer    what it says
    parse_inner   read it, verify its certificates
    encode_inner  write it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rbcluster.errors import DescriptorLimitError, ParseError
from rbcluster.hs.descriptor.document import Layer, Section, encode_item
from rbcluster.hs.descriptor.intro_point_codec import (
    ListedPoint,
    encode_intro_point,
    parse_intro_point,
)
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import DescriptorSigningKey, DescriptorSigningKeypair
from rbcluster.hs.params import MAX_INTRO_POINTS

_NTOR_HANDSHAKE = 2  # tor-spec 5.1: clients refuse a service that does not offer it
_MAX_HANDSHAKE = 0xFFFF
_MAX_SENDME_INC = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerLayer:
    """What the inner layer says."""

    traits: ServiceTraits
    pow_params: str | None  # the line's text without its keyword; None: no proof of work
    points: tuple[ListedPoint, ...]  # in the order in which clients find them


def parse_inner(plaintext: bytes, signing_key: DescriptorSigningKey) -> InnerLayer:
    """Read a decrypted inner layer and verify its certificates. Unknown lines are ignored.

    :raises ParseError: if a line is missing, doubled or malformed.
    :raises VerificationError: if a certificate is not by `signing_key`.
    :raises DescriptorLimitError: if more than 20 introduction points are listed.
    """
    section = Section.parse(plaintext.partition(b"\0")[0], Layer.INNER)
    head, parts = section.starting_with("create2-formats").split_at("introduction-point")
    if len(parts) > MAX_INTRO_POINTS:
        msg = (
            f"{Layer.INNER.value}: {len(parts)} introduction points are listed, and clients take "
            f"at most {MAX_INTRO_POINTS}; whoever publishes it must list fewer"
        )
        raise DescriptorLimitError(msg)
    pow_params = head.optional("pow-params")
    return InnerLayer(
        traits=_parse_traits(head),
        pow_params=None if pow_params is None else " ".join(pow_params.args),
        points=tuple(parse_intro_point(part, signing_key) for part in parts),
    )


def encode_inner(
    traits: ServiceTraits,
    points: Iterable[IntroPoint],
    signer: DescriptorSigningKeypair,
    certs_expire_at: datetime,
) -> bytes:
    """Write the inner layer, the keys of its introduction points certified anew.

    :raises ParseError: if a trait can't stand in a line, or clients would refuse it.
    """
    if _NTOR_HANDSHAKE not in traits.create2_formats:
        msg = (
            f"{Layer.INNER.value}: create2-formats {traits.create2_formats} lacks ntor "
            f"({_NTOR_HANDSHAKE}), and clients would refuse it; report the service's traits anew"
        )
        raise ParseError(msg)
    items = [encode_item("create2-formats", *map(str, traits.create2_formats))]
    if traits.intro_auth_required:
        items.append(encode_item("intro-auth-required", *traits.intro_auth_required))
    if traits.single_onion_service:
        items.append(encode_item("single-onion-service"))
    if traits.flow_control is not None:
        items.append(encode_item("flow-control", *map(str, traits.flow_control)))
    items += [encode_intro_point(point, signer, certs_expire_at) for point in points]
    return "".join(items).encode("ascii")


def _parse_traits(head: Section) -> ServiceTraits:
    formats = head.one("create2-formats")
    numbers = tuple(formats.number(i, _MAX_HANDSHAKE) for i in range(len(formats.args)))
    if _NTOR_HANDSHAKE not in numbers:
        raise formats.fault("the ntor handshake (2) is not offered")
    auth_required = head.optional("intro-auth-required")
    if auth_required is not None:
        auth_required.arg(0)
    flow_control = head.optional("flow-control")
    return ServiceTraits(
        create2_formats=numbers,
        intro_auth_required=() if auth_required is None else auth_required.args,
        single_onion_service=head.optional("single-onion-service") is not None,
        flow_control=None
        if flow_control is None
        else (flow_control.arg(0), flow_control.number(1, _MAX_SENDME_INC)),
    )
