from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbcluster.raft.codec import CodecError, PeerNode, dumps, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    | st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).map(PeerNode),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_encoded_is_decoded_with_tuples_for_arrays(value: object) -> None:
    assert loads(dumps(value)) == value


@given(st.binary())
def test_any_bytes_give_a_value_or_a_codec_error(data: bytes) -> None:
    try:
        loads(data)
    except CodecError as error:
        assert "bytes are no msgpack value" in str(error)  # noqa: PT017 - both ways are right


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x01",  # two values
        b"\xd4\x02a",  # an extension type that is not ours
        b"\xd4\x01A",  # a node of a name that none can have
        b"\xa1\xff",  # text that is no UTF-8
        b"\x81\x01\x01",  # a map with a key that is no text
        b"\x91" * 5000,
    ],
)
def test_bytes_that_are_no_value_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="are no msgpack value"):
        loads(data)


@pytest.mark.parametrize("value", [{1, 2}, object(), 2**64, loads])
def test_a_type_that_could_not_come_back_is_refused(value: object) -> None:
    with pytest.raises(CodecError, match="can't encode"):
        dumps(value)


def test_nodes_are_equal_by_name_and_hash_alike_in_every_process() -> None:
    assert PeerNode("alpha") == PeerNode("alpha") != PeerNode("beta")
    assert hash(PeerNode("alpha")) == 3504355690  # CRC-32 of the name
