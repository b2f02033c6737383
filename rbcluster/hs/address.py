"""Onion addresses: an identity key, spelled out with a checksum and a version.

Spec: rend-spec-v3 6 [ONIONADDRESS].
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from rbcluster.errors import ParseError
from rbcluster.hs.keys import IdentityKey
from rbcluster.hs.params import ADDRESS_CHARS, HS_VERSION, KEY_BYTES

_SUFFIX = ".onion"
_CHECKSUM_BYTES = 2


@dataclass(frozen=True, slots=True, order=True)
class OnionAddress:
    """The address of a v3 onion service: one identity key, and the text that names it.

    >>> OnionAddress.parse("2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd.onion").label
    '2clzszzj2zxouhymnw33lgycxhcr67iv6ozbuyvugjblsohckzjux7yd'
    """

    identity: IdentityKey

    @classmethod
    def parse(cls, text: str) -> OnionAddress:
        """Read an address, with or without ``.onion``, in any case.

        :raises ParseError: if its length, alphabet, version or checksum is wrong, or its key is no
            point of the curve.
        """
        label = text.strip().lower().removesuffix(_SUFFIX)
        if len(label) != ADDRESS_CHARS:
            msg = (
                f"{text!r} is no v3 onion address: {len(label)} characters, not {ADDRESS_CHARS}, "
                f"before {_SUFFIX}"
            )
            raise ParseError(msg)
        try:
            raw = base64.b32decode(label.upper())
        except ValueError as error:  # binascii.Error, or not ASCII
            raise ParseError(f"{text!r} is no v3 onion address: not base32") from error
        key, checksum, version = raw[:KEY_BYTES], raw[KEY_BYTES:-1], raw[-1]
        if version != HS_VERSION:
            raise ParseError(f"{text!r} is an onion address of version {version}, not {HS_VERSION}")
        if not hmac.compare_digest(checksum, _checksum(key)):
            raise ParseError(f"{text!r} has a wrong checksum: it was mistyped or cut")
        identity = IdentityKey(key)
        if not identity.is_on_curve():
            raise ParseError(f"{text!r} names no possible key: it was made up or damaged")
        return cls(identity)

    @property
    def label(self) -> str:
        """The 56 base32 characters, without ``.onion``: the form the control port uses."""
        key = self.identity.raw
        raw = key + _checksum(key) + bytes([HS_VERSION])
        return base64.b32encode(raw).decode("ascii").lower()

    def __str__(self) -> str:
        return self.label + _SUFFIX

    def shortened(self) -> str:
        """Return a form for logs: enough to tell services apart, not enough to visit one."""
        return f"{self.label[:6]}...{_SUFFIX}"


def _checksum(key: bytes) -> bytes:
    """CHECKSUM of an address (2 bytes)."""
    version = bytes([HS_VERSION])
    return hashlib.sha3_256(b".onion checksum" + key + version).digest()[:_CHECKSUM_BYTES]
