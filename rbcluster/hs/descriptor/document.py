"""The syntax that a descriptor's three layers share: keyword lines, and objects in armour.

Not here: what the lines mean (`outer.py`, `middle.py`, `inner.py`).

Every fault names the layer, the line and its keyword, since that is all an operator can see of a
document that is mostly base64.

Spec: dir-spec 1.2 (document meta-format).

Overview::

    Layer         which of the three
    Item          one keyword line, and the object below it
    Section       some items of one layer: asks for lines by keyword, complains by place
    encode_item   write a line, with its object
    encode_base64 what stands in a line
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from rbcluster.errors import DescriptorError, ParseError

_REMEDY = "fetch the descriptor again"
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_WORD = re.compile(r"[!-~]+")
_DIGITS = re.compile(r"[0-9]{1,20}")  # enough for 2^64 - 1, too few to keep `int` busy
_ARMOUR_CHARS = 64  # base64 characters a line


class Layer(Enum):
    """Which of a descriptor's three layers. Spec: rend-spec-v3 2.4, 2.5.1, 2.5.2."""

    OUTER = "outer layer"  # what an HSDir sees
    MIDDLE = "middle layer"  # what who knows the address sees ("superencrypted")
    INNER = "inner layer"  # what an authorized client sees ("encrypted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One keyword line, and the object below it."""

    keyword: str
    args: tuple[str, ...]
    armour: str | None  # label of the object, if there is one
    data: bytes  # what the object holds
    place: str  # layer, line number and keyword, for messages

    def fault(self, what: str) -> ParseError:
        """Make an error that says where it was found and what to do."""
        return ParseError(f"{self.place}: {what}; {_REMEDY}")

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Add this item's place and the remedy to any `DescriptorError` raised inside."""
        try:
            yield
        except DescriptorError as error:
            raise type(error)(f"{self.place}: {error}; {_REMEDY}") from error

    def arg(self, index: int) -> str:
        """Return an argument.

        :raises ParseError: if the line has fewer.
        """
        if index >= len(self.args):
            raise self.fault(f"{len(self.args)} arguments are too few")
        return self.args[index]

    def number(self, index: int, maximum: int) -> int:
        """Read an argument as a decimal number, 0..`maximum`.

        :raises ParseError: if it is none.
        """
        text = self.arg(index)
        if not _DIGITS.fullmatch(text) or int(text) > maximum:
            raise self.fault(f"{text[:32]!r} is no number up to {maximum}")
        return int(text)

    def base64(self, index: int, num_bytes: int | None = None) -> bytes:
        """Read an argument as base64, padded or not.

        :param num_bytes: how many bytes it must hold; any number if `None`.
        :raises ParseError: if it does not.
        """
        data = _decode_base64(self.arg(index), self.place)
        if num_bytes is not None and len(data) != num_bytes:
            raise self.fault(f"{len(data)} bytes stand where {num_bytes} belong")
        return data

    def object(self, label: str) -> bytes:
        """Return what the object below the line holds.

        :raises ParseError: if there is none with that label.
        """
        if self.armour != label:
            raise self.fault(f"an object {label!r} belongs here, not {self.armour!r}")
        return self.data


@dataclass(frozen=True, slots=True)
class Section:
    """Some items of one layer, in order."""

    place: str  # the layer, for messages about lines that are missing
    items: tuple[Item, ...]

    @classmethod
    def parse(cls, text: bytes, layer: Layer) -> Section:
        """Split a layer's text into items. Empty lines are skipped.

        :raises ParseError: if it is not UTF-8, or an object is cut or not base64.
        """
        try:
            lines = text.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            msg = f"{layer.value}: byte {error.start} is not UTF-8; {_REMEDY}"
            raise ParseError(msg) from error
        return cls(layer.value, tuple(_read_items(lines, layer.value)))

    def one(self, keyword: str) -> Item:
        """Return the only item with this keyword.

        :raises ParseError: if there is none, or more than one.
        """
        return _only(self.some(keyword))

    def optional(self, keyword: str) -> Item | None:
        """Return the only item with this keyword, if there is one.

        :raises ParseError: if there are more.
        """
        found = self.every(keyword)
        return _only(found) if found else None

    def every(self, keyword: str) -> tuple[Item, ...]:
        """Return all items with this keyword, in order."""
        return tuple(item for item in self.items if item.keyword == keyword)

    def some(self, keyword: str) -> tuple[Item, ...]:
        """Return all items with this keyword, in order.

        :raises ParseError: if there is none.
        """
        found = self.every(keyword)
        if not found:
            raise ParseError(f"{self.place}: the line {keyword!r} is missing; {_REMEDY}")
        return found

    def starting_with(self, keyword: str) -> Section:
        """Return this section, once it is sure that it starts with this keyword.

        :raises ParseError: if it does not.
        """
        if not self.items or self.items[0].keyword != keyword:
            raise ParseError(f"{self.place}: the first line is not {keyword!r}; {_REMEDY}")
        return self

    def split_at(self, keyword: str) -> tuple[Section, tuple[Section, ...]]:
        """Cut before each item with this keyword: what stands before the first, then the parts."""
        cuts = [i for i, item in enumerate(self.items) if item.keyword == keyword]
        ends = [*cuts[1:], len(self.items)]
        parts = (
            Section(self.items[start].place, self.items[start:end])
            for start, end in zip(cuts, ends, strict=bool(cuts))
        )
        return Section(self.place, self.items[: cuts[0]] if cuts else self.items), tuple(parts)


def encode_item(keyword: str, *args: str, armour: str | None = None, data: bytes = b"") -> str:
    r"""Write a line, and below it the object `data` if `armour` gives its label.

    :raises ParseError: if an argument would break the line, and so could smuggle in another.

    >>> encode_item("encrypted", armour="MESSAGE", data=b"abc")
    'encrypted\n-----BEGIN MESSAGE-----\nYWJj\n-----END MESSAGE-----\n'
    """
    for arg in args:
        if not _WORD.fullmatch(arg):
            raise ParseError(f"line {keyword!r}: {arg[:32]!r} is not one printable ASCII word")
    lines = [" ".join((keyword, *args))]
    if armour is not None:
        text = base64.b64encode(data).decode("ascii")
        body = [text[i : i + _ARMOUR_CHARS] for i in range(0, len(text), _ARMOUR_CHARS)]
        lines += [f"-----BEGIN {armour}-----", *body, f"-----END {armour}-----"]
    return "\n".join(lines) + "\n"


def encode_base64(data: bytes, *, padded: bool = True) -> str:
    """Write bytes as one base64 word."""
    text = base64.b64encode(data).decode("ascii")
    return text if padded else text.rstrip("=")


def _only(found: tuple[Item, ...]) -> Item:
    if len(found) > 1:
        raise found[1].fault("the line stands here a second time")
    return found[0]


def _read_items(lines: list[str], layer: str) -> Iterator[Item]:
    numbered = enumerate(lines, start=1)
    pending = next(numbered, None)
    while pending is not None:
        number, line = pending
        pending = next(numbered, None)
        if not line:
            continue
        keyword, *args = [word for word in re.split("[ \t]+", line) if word] or [""]
        place = f"{layer}, line {number} ({keyword[:32]!r})"
        armour, data = None, b""
        if pending is not None and (begin := _BEGIN.fullmatch(pending[1])):
            armour = begin[1]
            data = _decode_base64(_read_armour(numbered, armour, place), place)
            pending = next(numbered, None)
        yield Item(keyword=keyword, args=tuple(args), armour=armour, data=data, place=place)


def _read_armour(numbered: Iterator[tuple[int, str]], label: str, place: str) -> str:
    """Take the lines up to the object's end."""
    body: list[str] = []
    for _, line in numbered:
        if line == f"-----END {label}-----":
            return "".join(body)
        body.append(line)
    raise ParseError(f"{place}: the object has no end, the document was cut; {_REMEDY}")


def _decode_base64(text: str, place: str) -> bytes:
    """Decode base64, padded or not, in its one canonical spelling."""
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ParseError(f"{place}: this is not base64; {_REMEDY}") from error
    if text not in (spelled := encode_base64(data), spelled.rstrip("=")):
        raise ParseError(f"{place}: this is not canonical base64; {_REMEDY}")
    return data
