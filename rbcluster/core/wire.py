"""Codecs made of codecs: how replicated values become msgpack values, and back, strictly.

Both ways check alike, so a value that one node can't read is one that no node writes. Every value
has one form (records are arrays in field order, maps are arrays of pairs sorted by key), so equal
values give equal bytes.

Not here: which types there are and in what order their fields stand (`core/codec.py`).

Overview::

    Codec                          pack(value) -> Wire, unpack(Wire) -> value; both may raise
      |- integer, octets, text, BOOLEAN      leaves, each with its bounds
      |- wrapped, enum_of                    one leaf in a type of its own
      |- optional, sequence, pairs           several
      |- mapping, set_of                     several, sorted
      +- record                              a dataclass, field by field
    to_bytes, from_bytes           Wire <-> msgpack
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

import msgpack

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K")
V = TypeVar("V")
E = TypeVar("E", bound=Enum)

Wire: TypeAlias = "bool | int | bytes | str | list[Wire] | None"


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """The wire form of one type. Both directions raise `ValueError`, naming the place."""

    pack: Callable[[T], Wire]
    unpack: Callable[[Wire], T]


def integer(low: int, high: int) -> Codec[Any]:
    """An integer from `low` to `high`, both allowed; never a bool. Any: it carries NewTypes too."""

    def check(value: Wire) -> int:
        number = _exactly(int, int(value) if isinstance(value, IntEnum) else value)
        if not low <= number <= high:
            raise ValueError(f"{number} is not within {low}..{high}")
        return number

    return Codec(check, check)


def octets(low: int, high: int) -> Codec[bytes]:
    """`low` to `high` bytes."""

    def check(value: Wire) -> bytes:
        return _sized(_exactly(bytes, value), low, high)

    return Codec(check, check)


def text(low: int, high: int) -> Codec[str]:
    """`low` to `high` printable characters: it ends up in terminals and logs."""

    def check(value: Wire) -> str:
        characters = _sized(_exactly(str, value), low, high)
        if not characters.isprintable():
            raise ValueError(f"{characters!a} holds unprintable characters")
        return characters

    return Codec(check, check)


def _boolean(value: Wire) -> bool:
    return _exactly(bool, value)


BOOLEAN: Codec[bool] = Codec(_boolean, _boolean)


def wrapped(inner: Codec[U], wrap: Callable[[U], T], unwrap: Callable[[T], U]) -> Codec[T]:
    """A value carried as another one."""
    return Codec(
        lambda value: inner.pack(unwrap(value)),
        lambda wire: wrap(inner.unpack(wire)),
    )


def enum_of(cls: type[E]) -> Codec[E]:
    """A member of an enumeration, carried by its value."""
    return Codec(lambda member: member.value, cls)  # an unknown value is a ValueError already


def optional(inner: Codec[T]) -> Codec[T | None]:
    """A value, or nothing."""
    return Codec(
        lambda value: None if value is None else inner.pack(value),
        lambda wire: None if wire is None else inner.unpack(wire),
    )


def sequence(inner: Codec[T], high: int) -> Codec[tuple[T, ...]]:
    """At most `high` values, in order."""
    return Codec(
        lambda values: [inner.pack(value) for value in _sized(values, 0, high)],
        lambda wire: tuple(inner.unpack(item) for item in _array(wire, 0, high)),
    )


def pair(first: Codec[K], second: Codec[V]) -> Codec[tuple[K, V]]:
    """Two values."""

    def unpack(wire: Wire) -> tuple[K, V]:
        one, two = _array(wire, 2, 2)
        return first.unpack(one), second.unpack(two)

    return Codec(lambda value: [first.pack(value[0]), second.pack(value[1])], unpack)


def mapping(key: Codec[K], value: Codec[V], high: int) -> Codec[Mapping[K, V]]:
    """At most `high` entries, as pairs sorted by their packed key, without duplicates."""
    entry = pair(key, value)

    def pack(values: Mapping[K, V]) -> Wire:
        packed = (entry.pack(item) for item in _sized(values, 0, high).items())
        return sorted(packed, key=_entry_key)

    def unpack(wire: Wire) -> Mapping[K, V]:
        array = _array(wire, 0, high)
        values = dict(map(entry.unpack, array))
        _check_ascending(map(_entry_key, array))
        return MappingProxyType(values)

    return Codec(pack, unpack)


def set_of(inner: Codec[T], high: int) -> Codec[frozenset[T]]:
    """At most `high` values, sorted by their packed form, without duplicates."""

    def pack(values: frozenset[T]) -> Wire:
        return sorted((inner.pack(value) for value in _sized(values, 0, high)), key=to_bytes)

    def unpack(wire: Wire) -> frozenset[T]:
        array = _array(wire, 0, high)
        values = frozenset(map(inner.unpack, array))
        _check_ascending(map(to_bytes, array))
        return values

    return Codec(pack, unpack)


def record(cls: type[T], **fields: Codec[Any]) -> Codec[T]:
    """A dataclass, as the array of its fields in the order given here.

    A rule of the class itself (`__post_init__`) holds for bytes as well.
    """

    def pack(value: T) -> Wire:
        return [_in(name, codec.pack, getattr(value, name)) for name, codec in fields.items()]

    def unpack(wire: Wire) -> T:
        array = _array(wire, len(fields), len(fields))
        return cls(
            **{
                name: _in(name, codec.unpack, item)
                for (name, codec), item in zip(fields.items(), array, strict=True)
            }
        )

    return Codec(pack, unpack)


def to_bytes(wire: Wire) -> bytes:
    """Write a msgpack value.

    :raises ValueError: if text in it can't be written as UTF-8.
    """
    return msgpack.packb(wire, use_bin_type=True)


def from_bytes(data: bytes) -> Wire:
    """Read exactly one msgpack value; maps and extension types are none of ours.

    :raises ValueError: if `data` is anything else.
    """
    try:
        wire: Wire = msgpack.unpackb(
            data, raw=False, strict_map_key=True, max_map_len=0, max_ext_len=0
        )
    except msgpack.UnpackException as error:
        raise ValueError("malformed msgpack") from error
    return wire


def _in(name: str, step: Callable[[Any], V], value: object) -> V:
    """Put the field's name before whatever is wrong in it."""
    try:
        return step(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _exactly(cls: type[T], value: object) -> T:
    """Refuse any other type, subclasses too: a bool is an int to isinstance."""
    if type(value) is not cls:
        raise ValueError(f"{type(value).__name__} found, not {cls.__name__}")
    return value


def _array(wire: Wire, low: int, high: int) -> list[Wire]:
    return _sized(_exactly(list, wire), low, high)


S = TypeVar("S", bytes, str, "list[Wire]", tuple[Any, ...], Mapping[Any, Any], frozenset[Any])


def _sized(value: S, low: int, high: int) -> S:
    if not low <= len(value) <= high:
        raise ValueError(f"{len(value)} long, not {low}..{high}")
    return value


def _entry_key(wire: Wire) -> bytes:
    return to_bytes(_array(wire, 2, 2)[0])


def _check_ascending(keys: Iterable[bytes]) -> None:
    """Refuse what is unsorted or given twice: it would give one value two forms."""
    previous: bytes | None = None
    for key in keys:
        if previous is not None and key <= previous:
            raise ValueError("entries are not sorted, or one is given twice")
        previous = key
