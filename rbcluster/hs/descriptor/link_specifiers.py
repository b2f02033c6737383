"""Link specifiers: how an introduction point names its relay, in bytes and in words.

Spec: tor-spec 5.1.2 [EXTEND2]; rend-spec-v3 2.5.2.2 (the list in an introduction point).

Overview::

    parse_link_specifiers    NSPEC | (LSTYPE | LSLEN | LSPEC)* -> values
    encode_link_specifiers   values -> bytes
    relay_addresses          where a point's relay listens
    relay_ed25519_id         its Ed25519 identity
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from rbcluster.errors import ParseError
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType
from rbcluster.hs.keys import RelayEd25519Id
from rbcluster.hs.params import FINGERPRINT_BYTES, KEY_BYTES

_PORT_BYTES = 2
_NUM_BYTES: Final[dict[int, int]] = {
    LinkType.IPV4: 4 + _PORT_BYTES,
    LinkType.IPV6: 16 + _PORT_BYTES,
    LinkType.LEGACY_ID: FINGERPRINT_BYTES,
    LinkType.ED25519_ID: KEY_BYTES,
}


def parse_link_specifiers(data: bytes) -> tuple[LinkSpecifier, ...]:
    """Read a list of link specifiers; unknown types are kept.

    :raises ParseError: if it is cut or overlong, or a known type has a wrong length.
    """
    count, rest = data[:1], data[1:]
    specifiers = []
    for _ in range(int.from_bytes(count)):
        head, rest = rest[:2], rest[2:]
        if len(head) != 2 or len(rest) < head[1]:  # noqa: PLR2004 - type and length, a byte each
            raise ParseError("the link specifiers are cut short")
        specifier, rest = LinkSpecifier(head[0], rest[: head[1]]), rest[head[1] :]
        if len(specifier.data) != _NUM_BYTES.get(specifier.type, len(specifier.data)):
            msg = f"a link specifier of type {specifier.type} has {len(specifier.data)} bytes"
            raise ParseError(msg)
        specifiers.append(specifier)
    if rest:
        raise ParseError(f"{len(rest)} bytes follow the link specifiers")
    return tuple(specifiers)


def encode_link_specifiers(specifiers: Iterable[LinkSpecifier]) -> bytes:
    """Write a list of link specifiers (up to 255), in their order."""
    encoded = [bytes([s.type, len(s.data)]) + s.data for s in specifiers]
    return bytes([len(encoded)]) + b"".join(encoded)


def relay_addresses(point: IntroPoint) -> tuple[str, ...]:
    """Return where a point's relay listens, in the point's order: ``192.0.2.1:9001``.

    IPv6 addresses stand in brackets.
    """
    found = []
    for specifier in point.link_specifiers:
        address, port = specifier.data[:-_PORT_BYTES], specifier.data[-_PORT_BYTES:]
        if specifier.type == LinkType.IPV4:
            found.append(f"{ipaddress.IPv4Address(address)}:{int.from_bytes(port)}")
        elif specifier.type == LinkType.IPV6:
            found.append(f"[{ipaddress.IPv6Address(address)}]:{int.from_bytes(port)}")
    return tuple(found)


def relay_ed25519_id(point: IntroPoint) -> RelayEd25519Id | None:
    """Return the Ed25519 identity of a point's relay, if the point names it."""
    ids = (s.data for s in point.link_specifiers if s.type == LinkType.ED25519_ID)
    data = next(ids, None)
    return None if data is None else RelayEd25519Id(data)
