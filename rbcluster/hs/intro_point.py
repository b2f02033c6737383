"""One introduction point, as a descriptor lists it.

Its identity is its auth key, never the relay's ntor key: two points may share a relay.

Spec: rend-spec-v3 2.5.2.2 (introduction points).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from rbcluster.hs.consensus_view import Fingerprint
from rbcluster.hs.keys import IntroAuthKey, IntroEncKey, RelayNtorKey


class LinkType(IntEnum):
    """Kinds of link specifier. Spec: tor-spec 5.1.2 [EXTEND2]."""

    IPV4 = 0
    IPV6 = 1
    LEGACY_ID = 2
    ED25519_ID = 3


@dataclass(frozen=True, slots=True)
class LinkSpecifier:
    """One way to name or reach a relay (type 0..255, 0..255 bytes); unknown types are kept."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroPoint:
    """Where a client may leave an introduction, and the keys that reach one node.

    :raises ValueError: if no link specifier names the relay by its legacy identity.
    """

    link_specifiers: tuple[LinkSpecifier, ...]  # in the order the descriptor gave
    onion_key: RelayNtorKey
    auth_key: IntroAuthKey
    enc_key: IntroEncKey

    def __post_init__(self) -> None:
        ids = [s for s in self.link_specifiers if s.type == LinkType.LEGACY_ID]
        if len(ids) != 1:
            msg = f"an introduction point names its relay once, not {len(ids)} times"
            raise ValueError(msg)
        Fingerprint(ids[0].data)

    @property
    def relay(self) -> Fingerprint:
        """The relay that hosts this introduction point."""
        ids = (s.data for s in self.link_specifiers if s.type == LinkType.LEGACY_ID)
        return Fingerprint(next(ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTraits:
    """The lines of a descriptor's inner layer that speak for the whole service.

    Spec: rend-spec-v3 2.5.2.2; proposal 324 for flow-control.
    """

    create2_formats: tuple[int, ...] = (2,)
    intro_auth_required: tuple[str, ...] = ()  # empty: the line is absent
    single_onion_service: bool = False
    flow_control: tuple[str, int] | None = None  # version range and sendme-inc; ("1-2", 31) today
