"""Read a descriptor, tor's or ours, and believe nothing in it that is not verified.

Every signature and certificate is checked, and that the descriptor belongs to the address and the
time period it was asked for. Expiry is reported, not judged: there is no clock here.

Spec: rend-spec-v3 2.4 [DESC-OUTER], 2.5 [HS-DESC-ENC].

Overview::

    open_descriptor    all three layers -> Descriptor
    read_blinded_key   the outer layer only: whose is it, for those who know the address
    read_revision      the outer layer only: its revision counter
    find_period        which of some time periods a descriptor is for
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rbcluster.errors import VerificationError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_key, derive_subcredential
from rbcluster.hs.descriptor.client_auth import find_cookie
from rbcluster.hs.descriptor.document import Layer
from rbcluster.hs.descriptor.inner import parse_inner
from rbcluster.hs.descriptor.layer_crypto import LayerSecret, decrypt_layer
from rbcluster.hs.descriptor.middle import parse_middle
from rbcluster.hs.descriptor.outer import OuterLayer, parse_outer
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import BlindedKey, DescriptorSigningKey
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSizes:
    """How large a descriptor's layers are, in bytes."""

    outer: int  # the document
    middle: int  # its text, with padding: tor makes it a multiple of 10,000
    inner: int  # its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A descriptor, opened and verified. Instants are aware UTC."""

    address: OnionAddress
    period: TimePeriod
    revision: RevisionCounter
    lifetime: timedelta  # how long HSDirs are asked to serve it
    blinded_key: BlindedKey
    signing_key: DescriptorSigningKey
    signing_cert_expires_at: datetime
    points: tuple[IntroPoint, ...]  # 0..20, in the order in which clients find them
    points_expire_at: tuple[datetime, ...]  # for each: the earlier of its two certificates
    traits: ServiceTraits
    pow_params: str | None  # text of the line; None: no proof of work
    num_auth_clients: int  # auth-client lines, fakes included
    restricted: bool  # the inner layer took a client's key: it is for authorized clients only
    sizes: LayerSizes

    @property
    def expires_at(self) -> datetime:
        """When the first of its certificates expires."""
        return min((self.signing_cert_expires_at, *self.points_expire_at))


def open_descriptor(
    document: bytes, address: OnionAddress, period: TimePeriod, *, client_key: bytes | None = None
) -> Descriptor:
    """Verify and decrypt a descriptor.

    :param client_key: an authorized client's secret X25519 key (32 bytes), for a service that has
        authorized clients; harmless for one that has none.
    :raises ParseError: if a line of any layer is missing, doubled or malformed.
    :raises VerificationError: if a signature or certificate is wrong, or the descriptor is of
        another address or period.
    :raises DecryptionError: if a layer can't be opened with the keys at hand.
    :raises DescriptorLimitError: if it is larger, or lists more points, than clients take.
    :raises ValueError: if `client_key` is not 32 bytes.
    """
    outer = parse_outer(document)
    secret = _derive_secret(outer, address, period)
    middle_text = decrypt_layer(Layer.MIDDLE, outer.superencrypted, secret)
    middle = parse_middle(middle_text)
    cookie = b"" if client_key is None else find_cookie(middle, secret.subcredential, client_key)
    inner_text = decrypt_layer(Layer.INNER, middle.encrypted, secret, cookie=cookie)
    inner = parse_inner(inner_text, outer.signing_key)
    return Descriptor(
        address=address,
        period=period,
        revision=outer.revision,
        lifetime=outer.lifetime,
        blinded_key=outer.blinded_key,
        signing_key=outer.signing_key,
        signing_cert_expires_at=outer.cert_expires_at,
        points=tuple(listed.point for listed in inner.points),
        points_expire_at=tuple(listed.certs_expire_at for listed in inner.points),
        traits=inner.traits,
        pow_params=inner.pow_params,
        num_auth_clients=len(middle.clients),
        restricted=bool(cookie),
        sizes=LayerSizes(outer=len(document), middle=len(middle_text), inner=len(inner_text)),
    )


def _derive_secret(outer: OuterLayer, address: OnionAddress, period: TimePeriod) -> LayerSecret:
    """Derive what both inner layers are encrypted with.

    :raises VerificationError: if the descriptor is of another address or period.
    """
    if outer.blinded_key != derive_blinded_key(address.identity, period):
        raise _foreign(address, f"time period {period.number}")
    return LayerSecret(
        blinded_key=outer.blinded_key,
        subcredential=derive_subcredential(address.identity, outer.blinded_key),
        revision=outer.revision,
    )


def read_blinded_key(document: bytes) -> BlindedKey:
    """Return the blinded key a descriptor is signed for, its outer layer verified.

    :raises ParseError: if a line of the outer layer is missing, doubled or malformed.
    :raises VerificationError: if its certificate or signature is wrong.
    :raises DescriptorLimitError: if it is larger than clients take.
    """
    return parse_outer(document).blinded_key


def read_revision(document: bytes) -> RevisionCounter:
    """Return a descriptor's revision counter, its outer layer verified.

    :raises ParseError: if a line of the outer layer is missing, doubled or malformed.
    :raises VerificationError: if its certificate or signature is wrong.
    :raises DescriptorLimitError: if it is larger than clients take.
    """
    return parse_outer(document).revision


def find_period(
    document: bytes, address: OnionAddress, candidates: Iterable[TimePeriod]
) -> TimePeriod:
    """Find the time period a descriptor of this address is for.

    :raises VerificationError: if it is for none of the candidates, or its certificate or
        signature is wrong.
    :raises ParseError: if a line of the outer layer is missing, doubled or malformed.
    :raises DescriptorLimitError: if it is larger than clients take.
    """
    blinded_key = parse_outer(document).blinded_key
    tried = tuple(candidates)
    for period in tried:
        if derive_blinded_key(address.identity, period) == blinded_key:
            return period
    numbers = ", ".join(str(period.number) for period in tried)
    raise _foreign(address, f"any of the time periods tried ({numbers or 'none'})")


def _foreign(address: OnionAddress, periods: str) -> VerificationError:
    return VerificationError(
        f"{Layer.OUTER.value}: the blinded key is not that of {address.shortened()} in {periods}; "
        "check the address and the time period"
    )
