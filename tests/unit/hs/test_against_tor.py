"""What a real tor did in a private network, done again: both slots' HSDirs, indices, revisions.

`tests/vectors/README.md` says how the capture was made.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.consensus_view import ConsensusView, Fingerprint, HsDir
from rbcluster.hs.hashring import HashRing, derive_hsdir_index, slot_times
from rbcluster.hs.keys import IdentityKeypair, RelayEd25519Id, SharedRandomValue
from rbcluster.hs.revision import RevisionCounter, RevisionScheme
from rbcluster.hs.time_period import DescriptorSlot, HsTimes

CAPTURE = Path(__file__).parents[2] / "vectors" / "tor-0.4.9.11"
FACTS = json.loads((CAPTURE / "capture.json").read_text())
IDENTITY = IdentityKeypair.from_seed(bytes.fromhex(FACTS["services"]["ordinary"]["seed"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload, as tor logged it."""

    at: datetime
    revision: RevisionCounter
    hsdir: Fingerprint
    hsdir_index: bytes


def read_uploads(slot: DescriptorSlot) -> list[Upload]:
    uploads = json.loads((CAPTURE / "uploads" / "uploads.json").read_text())
    return [
        Upload(
            at=datetime.fromtimestamp(upload["at_unix"], UTC),
            revision=RevisionCounter(upload["revision"]),
            hsdir=Fingerprint.from_hex(upload["hsdir"]),
            hsdir_index=bytes.fromhex(upload["hsdir_index"]),
        )
        for upload in uploads
        if upload["slot"] == slot.value
    ]


def read_view() -> ConsensusView:
    text = (CAPTURE / "uploads" / "consensus-microdesc.txt").read_text()
    values = dict(line.split(" ", 1) for line in text.splitlines() if line.count(" ") > 0)
    return ConsensusView(
        valid_after=read_time(values["valid-after"]),
        fresh_until=read_time(values["fresh-until"]),
        valid_until=read_time(values["valid-until"]),
        times=HsTimes(
            voting_interval=timedelta(seconds=FACTS["voting_interval_s"]),
            period_length=timedelta(minutes=FACTS["period_length_min"]),
        ),
        srv_current=read_srv(values["shared-rand-current-value"]),
        srv_previous=read_srv(values["shared-rand-previous-value"]),
        hsdirs=tuple(sorted(read_hsdirs(text))),
    )


def read_hsdirs(consensus: str) -> list[HsDir]:
    """Join relays with the flag HSDir and their microdescriptors, by the digests of these."""
    text = (CAPTURE / "uploads" / "microdescriptors.txt").read_text()
    ids = {}
    for part in re.split(r"(?m)^(?=onion-key$)", text):
        if found := re.search(r"(?m)^id ed25519 (\S+)$", part):
            ids[hashlib.sha256(part.encode()).digest()] = RelayEd25519Id(unpadded(found[1]))
    entries = re.findall(r"(?m)^r \S+ (\S+) .*\n(?:a .*\n)*m (\S+)\ns (.*)$", consensus)
    return [
        HsDir(Fingerprint(unpadded(fingerprint)), ids[unpadded(digest)])
        for fingerprint, digest, flags in entries
        if "HSDir" in flags.split()
    ]


def read_time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def read_srv(text: str) -> SharedRandomValue:
    return SharedRandomValue(unpadded(text.rsplit(maxsplit=1)[-1]))


def unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def test_the_capture_has_eight_uploads_of_each_descriptor() -> None:
    assert [len(read_uploads(slot)) for slot in DescriptorSlot] == [8, 8]
    assert len(read_view().hsdirs) > 8


@pytest.mark.parametrize("slot", DescriptorSlot)
def test_tor_uploaded_to_the_hsdirs_that_we_find_in_the_same_order(slot: DescriptorSlot) -> None:
    view = read_view()
    slot_time = slot_times(view)[slot]
    blinded = derive_blinded_keypair(IDENTITY, slot_time.period).public
    expected = tuple(upload.hsdir for upload in read_uploads(slot))
    assert HashRing.at(view, slot_time).responsible(blinded) == expected


@pytest.mark.parametrize("slot", DescriptorSlot)
def test_tor_placed_the_hsdirs_where_we_place_them(slot: DescriptorSlot) -> None:
    view = read_view()
    slot_time = slot_times(view)[slot]
    ids = {hsdir.fingerprint: hsdir.ed25519_id for hsdir in view.hsdirs}
    for upload in read_uploads(slot):
        index = derive_hsdir_index(ids[upload.hsdir], slot_time.srv, slot_time.period)
        assert index == upload.hsdir_index


@pytest.mark.parametrize("slot", DescriptorSlot)
def test_tor_gave_the_revision_that_we_give_at_that_second(slot: DescriptorSlot) -> None:
    slot_time = slot_times(read_view())[slot]
    keypair = derive_blinded_keypair(IDENTITY, slot_time.period)
    scheme = RevisionScheme.from_keypair(keypair)
    for upload in read_uploads(slot):
        assert upload.revision == scheme.revision_for(slot_time, upload.at)
