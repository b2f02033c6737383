"""What rbcluster relies on of msgpack, which ships no types."""

from collections.abc import Callable
from typing import Any, NamedTuple

class UnpackException(Exception): ...

class ExtType(NamedTuple):
    code: int
    data: bytes

def packb(
    o: object, *, use_bin_type: bool = ..., default: Callable[[Any], object] | None = ...
) -> bytes: ...
def unpackb(
    packed: bytes,
    *,
    raw: bool = ...,
    use_list: bool = ...,
    strict_map_key: bool = ...,
    max_str_len: int = ...,
    max_bin_len: int = ...,
    max_array_len: int = ...,
    max_map_len: int = ...,
    max_ext_len: int = ...,
    ext_hook: Callable[[int, bytes], object] = ...,
) -> Any: ...
