"""stem, a parser that shares no code with ours, reads what we build."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from stem.descriptor.hidden_service import HiddenServiceDescriptorV3

from rbcluster.hs.address import OnionAddress
from rbcluster.hs.descriptor import DescriptorContent, build_descriptor, open_descriptor
from rbcluster.hs.descriptor.document import encode_base64

LATER = datetime(2100, 1, 1, 0, 30, tzinfo=UTC)  # stem compares expiry with the real clock


@pytest.mark.parametrize("num_points", [1, 9, 20])
def test_stem_reads_what_we_build(
    make_content: Callable[..., DescriptorContent], num_points: int
) -> None:
    content = make_content(num_points)
    address = OnionAddress(content.identity)
    document = build_descriptor(content, LATER, bytes)
    ours = open_descriptor(document, address, content.period)

    theirs = HiddenServiceDescriptorV3.from_str(document.decode(), validate=True)
    assert theirs.version == 3
    assert theirs.lifetime == 180
    assert theirs.revision_counter == content.revision
    inner = theirs.decrypt(str(address))
    assert inner.formats == [2]
    points = inner.introduction_points
    assert [bytes(p.auth_key_cert.key) for p in points] == [
        point.auth_key.raw for point in content.points
    ]
    assert [(p.onion_key_raw, p.enc_key_raw) for p in points] == [
        (encode_base64(point.onion_key.raw), encode_base64(point.enc_key.raw))
        for point in content.points
    ]
    expiry = {p.auth_key_cert.expiration.replace(tzinfo=UTC) for p in points}
    assert expiry == set(ours.points_expire_at)
