"""Make a descriptor as tor would make it, for any list of introduction points.

Same lines in the same order, same padding, same lifetimes of certificates, the same keys kept for
a period: what an HSDir or a client sees gives no hint that tor did not write it.

Not here: which points to list, in which order (the caller shuffles), and the revision counter.

Spec: rend-spec-v3 2.4 [DESC-OUTER], 2.5 [HS-DESC-ENC].
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rbcluster.errors import DescriptorLimitError, VerificationError
from rbcluster.hs.blinding import derive_blinded_key, derive_subcredential
from rbcluster.hs.certificate import CertType, create_certificate
from rbcluster.hs.descriptor.derived_keys import (
    derive_ephemeral_key,
    derive_fake_clients,
    derive_signing_keypair,
)
from rbcluster.hs.descriptor.document import Layer
from rbcluster.hs.descriptor.inner import encode_inner
from rbcluster.hs.descriptor.layer_crypto import SALT_BYTES, LayerSecret, encrypt_layer
from rbcluster.hs.descriptor.middle import MiddleLayer, encode_middle
from rbcluster.hs.descriptor.outer import encode_outer
from rbcluster.hs.intro_point import IntroPoint, ServiceTraits
from rbcluster.hs.keys import BlindedKeypair, IdentityKey
from rbcluster.hs.params import CERT_LIFETIME, MAX_INTRO_POINTS, MAX_REVISION
from rbcluster.hs.randomness import RandomSource
from rbcluster.hs.revision import RevisionCounter
from rbcluster.hs.time_period import TimePeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorContent:
    """What a descriptor is to say.

    :raises ValueError: if the revision is out of range.
    """

    identity: IdentityKey
    period: TimePeriod
    keypair: BlindedKeypair  # of that identity and period
    revision: RevisionCounter
    points: tuple[IntroPoint, ...]  # 1..20, in the order in which clients will find them
    traits: ServiceTraits

    def __post_init__(self) -> None:
        if not 0 <= self.revision <= MAX_REVISION:
            msg = f"a revision counter is 0..{MAX_REVISION}, not {self.revision}"
            raise ValueError(msg)


def build_descriptor(content: DescriptorContent, now: datetime, rng: RandomSource) -> bytes:
    """Certify, encrypt and sign a descriptor.

    Two calls with the same content differ in their ciphertext and signature only.

    :param now: aware UTC; certificates are dated from it.
    :param rng: makes the salts (two draws of 16 bytes).
    :raises DescriptorLimitError: if there are no points or more than 20, or the document gets
        larger than HSDirs take.
    :raises VerificationError: if `keypair` is not of that identity and period.
    :raises ParseError: if a trait can't stand in a line.
    """
    if not 1 <= len(content.points) <= MAX_INTRO_POINTS:
        msg = (
            f"{Layer.INNER.value}: {len(content.points)} introduction points can't be published; "
            f"list 1 to {MAX_INTRO_POINTS}"
        )
        raise DescriptorLimitError(msg)
    secret = _derive_secret(content)
    signer = derive_signing_keypair(content.keypair)
    # tor dates the points' certificates from the past full hour, its signing key's from this
    # instant, rounded up: 54 h after the past and after the next full hour.
    past_hour = now.replace(minute=0, second=0, microsecond=0)
    inner = encode_inner(content.traits, content.points, signer, past_hour + CERT_LIFETIME)
    middle = MiddleLayer(
        ephemeral_key=derive_ephemeral_key(content.keypair),
        clients=derive_fake_clients(content.keypair),
        encrypted=encrypt_layer(Layer.INNER, inner, secret, rng(SALT_BYTES)),
    )
    return encode_outer(
        signer=signer,
        certificate=create_certificate(
            CertType.DESCRIPTOR_SIGNING,
            signer.public_bytes(),
            content.keypair,
            now + CERT_LIFETIME,
        ),
        revision=content.revision,
        superencrypted=encrypt_layer(Layer.MIDDLE, encode_middle(middle), secret, rng(SALT_BYTES)),
    )


def _derive_secret(content: DescriptorContent) -> LayerSecret:
    blinded_key = content.keypair.public
    if blinded_key != derive_blinded_key(content.identity, content.period):
        msg = (
            f"the blinded key is not that of time period {content.period.number}; "
            "derive it from the service's master key"
        )
        raise VerificationError(msg)
    return LayerSecret(
        blinded_key=blinded_key,
        subcredential=derive_subcredential(content.identity, blinded_key),
        revision=content.revision,
    )
