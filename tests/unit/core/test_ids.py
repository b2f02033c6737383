from __future__ import annotations

import pytest

from rbcluster.core.ids import ClusterId, Incarnation

KINDS = [ClusterId, Incarnation]


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_reads_as_hexadecimal(kind: type[ClusterId | Incarnation]) -> None:
    assert str(kind(bytes(range(16)))) == "000102030405060708090a0b0c0d0e0f"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 15, 17])
def test_an_id_takes_16_bytes(kind: type[ClusterId | Incarnation], length: int) -> None:
    with pytest.raises(ValueError, match=f"an id is 16 bytes, not {length}"):
        kind(bytes(length))
