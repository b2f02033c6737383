"""Sentences of rend-spec-v3 that no other test states: each quoted, then held against our code.

The quotes are from torspec's rend-spec-v3.txt; the number is that of their section.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from nacl import bindings
from nacl.signing import VerifyKey

from rbcluster.errors import ParseError, VerificationError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.certificate import CertType, create_certificate
from rbcluster.hs.consensus_view import ConsensusView
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor, open_descriptor
from rbcluster.hs.descriptor.derived_keys import derive_ephemeral_key, derive_fake_clients
from rbcluster.hs.descriptor.inner import encode_inner, parse_inner
from rbcluster.hs.descriptor.middle import AuthClient, MiddleLayer, encode_middle, parse_middle
from rbcluster.hs.descriptor.outer import encode_outer, parse_outer
from rbcluster.hs.hashring import slot_times
from rbcluster.hs.intro_point import IntroPoint, LinkSpecifier, LinkType, ServiceTraits
from rbcluster.hs.keys import (
    DescriptorSigningKeypair,
    IdentityKey,
    IdentityKeypair,
    IntroAuthKey,
    IntroEncKey,
    RelayNtorKey,
    SharedRandomValue,
)
from rbcluster.hs.revision import RevisionCounter, RevisionScheme
from rbcluster.hs.time_period import DescriptorSlot, HsTimes, TimePeriod

NOW = datetime(2026, 3, 1, 15, tzinfo=UTC)
TIMES = HsTimes(voting_interval=timedelta(hours=1), period_length=timedelta(days=1))
PERIOD = TimePeriod.containing(NOW, TIMES)
IDENTITY = IdentityKeypair.from_seed(bytes(range(32)))
ADDRESS = OnionAddress(IDENTITY.public)
BLINDED = derive_blinded_keypair(IDENTITY, PERIOD)
SIGNER = DescriptorSigningKeypair.from_seed(bytes(32))
TORSION = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")


def make_point(*more: LinkSpecifier) -> IntroPoint:
    return IntroPoint(
        link_specifiers=(LinkSpecifier(LinkType.LEGACY_ID, bytes(20)), *more),
        onion_key=RelayNtorKey(bytes([2] * 32)),
        auth_key=IntroAuthKey(SIGNER.public_bytes()),
        enc_key=IntroEncKey(bytes([3] * 32)),
    )


def make_document(revision: int = 7, *points: IntroPoint) -> bytes:
    content = DescriptorContent(
        identity=IDENTITY.public,
        period=PERIOD,
        keypair=BLINDED,
        revision=RevisionCounter(revision),
        points=points or (make_point(),),
        traits=ServiceTraits(),
    )
    return build_descriptor(content, NOW, bytes)


def make_middle(num_clients: int = 16) -> MiddleLayer:
    client = AuthClient(client_id=bytes(8), iv=bytes(16), cookie=bytes(16))
    return MiddleLayer(
        ephemeral_key=derive_ephemeral_key(BLINDED),
        clients=(client,) * num_clients,
        encrypted=b"the inner layer",
    )


def test_an_address_whose_key_has_a_torsion_component_is_refused() -> None:
    """2.2.7: "should check that the underlying ed25519 key does not have a torsion component"."""
    raw = bindings.crypto_core_ed25519_add(IDENTITY.public.raw, TORSION)
    text = str(OnionAddress(IdentityKey(raw)))
    with pytest.raises(ParseError, match="names no possible key"):
        OnionAddress.parse(text)


@pytest.mark.parametrize("revision", [2**63, 2**64 - 1])
def test_a_revision_of_64_bits_is_written_and_read(revision: int) -> None:
    """2.4: "Implementations MUST be able to parse 64-bit values for these counters."."""
    document = make_document(revision)
    assert b"\nrevision-counter %d\n" % revision in document
    assert open_descriptor(document, ADDRESS, PERIOD).revision == revision


def test_the_certificate_of_the_signing_key_has_a_type_of_its_own() -> None:
    """2.4: "The certificate type must be [08]"."""
    right, wrong = (
        encode_outer(
            signer=SIGNER,
            certificate=create_certificate(kind, SIGNER.public_bytes(), BLINDED, NOW),
            revision=RevisionCounter(1),
            superencrypted=b"",
        )
        for kind in (CertType.DESCRIPTOR_SIGNING, CertType.INTRO_AUTH)
    )
    assert CertType.DESCRIPTOR_SIGNING.value == 8
    assert parse_outer(right).blinded_key == BLINDED.public
    with pytest.raises(VerificationError):
        parse_outer(wrong)


def test_the_signature_is_over_a_prefix_and_all_fields_before_it() -> None:
    """2.4: "prefixed by the string "Tor onion service descriptor sig v3""."""
    document = make_document()
    body, _, signature = document.rstrip(b"\n").rpartition(b"signature ")
    key = VerifyKey(parse_outer(document).signing_key.raw)
    prefix = b"Tor onion service descriptor sig v3"
    assert key.verify(prefix + body, base64.b64decode(signature + b"=="))


def test_the_blinded_key_itself_signs_no_descriptor() -> None:
    """2.4: "We use a separate key for signing"."""
    outer = parse_outer(make_document())
    assert outer.blinded_key == BLINDED.public
    assert outer.signing_key.raw != outer.blinded_key.raw


@pytest.mark.parametrize("end", [b"", b"\n", b"\0", b"\n\0\0"])
def test_the_middle_layer_may_lack_its_last_newline(end: bytes) -> None:
    """2.5.1.2: "MUST accept this section even if it is missing its final newline."."""
    text = encode_middle(make_middle()).rstrip(b"\0\n")
    assert parse_middle(text + end) == make_middle()


@pytest.mark.parametrize("num_clients", [1, 15, 17, 160])
def test_any_number_of_clients_is_read(num_clients: int) -> None:
    """2.5.1.4: "Clients MUST accept descriptors with any number of "auth-client" lines"."""
    assert len(parse_middle(encode_middle(make_middle(num_clients))).clients) == num_clients


def test_a_service_without_authorized_clients_shows_as_many_as_a_private_one() -> None:
    """2.5.1.4: "Hidden services should avoid leaking whether client authorization is enabled"."""
    assert len(derive_fake_clients(BLINDED)) % 16 == 0


def test_a_link_specifier_of_an_unknown_type_is_read_and_kept() -> None:
    """2.5.2.2: "SHOULD NOT reject any LSTYPE fields which it doesn't recognize"."""
    point = make_point(LinkSpecifier(0x7F, b"of a later Tor"))
    descriptor = open_descriptor(make_document(7, point), ADDRESS, PERIOD)
    assert descriptor.points == (point,)


@pytest.mark.parametrize("keyword", ["onion-key", "enc-key"])
def test_a_key_of_an_unknown_type_beside_the_known_one_is_ignored(keyword: str) -> None:
    """2.5.2.2: "unrecognized key types should be ignored."."""
    text = encode_inner(ServiceTraits(), (make_point(),), SIGNER, NOW)
    mark = f"\n{keyword} ntor ".encode()
    assert mark in text
    later = text.replace(mark, f"\n{keyword} later AAAA and more".encode() + mark)
    assert parse_inner(later, SIGNER.public).points == parse_inner(text, SIGNER.public).points


def test_revisions_begin_anew_with_every_blinded_key() -> None:
    """F.X: "SHOULD NOT let the revision counter increase forever without resetting it"."""
    day = timedelta(days=1)
    last_of_one, first_of_next = (
        RevisionScheme.from_keypair(derive_blinded_keypair(IDENTITY, slot.period)).revision_for(
            slot, at
        )
        for slot, at in (
            (slot_times(view_at(NOW))[DescriptorSlot.FIRST], NOW),
            (slot_times(view_at(NOW + day))[DescriptorSlot.SECOND], NOW + day),
        )
    )
    assert first_of_next < last_of_one


def test_a_revision_does_not_tell_the_time() -> None:
    """F.X: "SHOULD NOT use the current time or the current time within the period directly"."""
    slot = slot_times(view_at(NOW))[DescriptorSlot.FIRST]
    others = (IDENTITY, IdentityKeypair.from_seed(bytes(32)))
    revisions = [
        RevisionScheme.from_keypair(derive_blinded_keypair(one, slot.period)) for one in others
    ]
    now, later = (
        [scheme.revision_for(slot, at) for scheme in revisions]
        for at in (NOW, NOW + timedelta(minutes=1))
    )
    assert now[0] != now[1]
    assert later[0] - now[0] != later[1] - now[1]


def view_at(valid_after: datetime) -> ConsensusView:
    return ConsensusView(
        valid_after=valid_after,
        fresh_until=valid_after + timedelta(hours=1),
        valid_until=valid_after + timedelta(hours=3),
        times=TIMES,
        srv_current=SharedRandomValue(bytes(32)),
        srv_previous=SharedRandomValue(bytes(32)),
        hsdirs=(),
    )
