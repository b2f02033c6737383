"""The one line that lets one new node in: where to ask, whom to trust, and a secret to show.

    rbj1.<base64url of: SHA-256 of the authority's certificate, secret, host:port>

Whoever sees the token can use it, once, until it expires. The secret itself is in no command: it is
spent by its hash (the proof), and the invitation holds the hash of that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from rbcluster.endpoint import HostPort
from rbcluster.errors import ConfigError

SECRET_BYTES = 32
_PREFIX = "rbj1."
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """What an invitation prints, and a joining node is given."""

    address: HostPort  # of the join listener
    authority: bytes  # fingerprint, 32 bytes
    secret: bytes = field(repr=False)  # 32 bytes

    @property
    def proof(self) -> bytes:
        """What spends the token."""
        return hashlib.sha256(self.secret).digest()

    @property
    def digest(self) -> bytes:
        """What the cluster knows the token by."""
        return hashlib.sha256(self.proof).digest()

    def encode(self) -> str:
        """Write it as one line."""
        raw = self.authority + self.secret + str(self.address).encode()
        return _PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a line that `encode` wrote.

        :raises ConfigError: if it is no token; the text never repeats it.
        """
        body = text.strip().removeprefix(_PREFIX)
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            authority, rest = raw[:_HASH_BYTES], raw[_HASH_BYTES:]
            address = HostPort.parse(rest[SECRET_BYTES:].decode())
        except (binascii.Error, ValueError):
            address = None
        if address is None or not text.strip().startswith(_PREFIX):
            raise ConfigError("that is no token: copy the whole line that `rbcluster invite` gave")
        return cls(address, authority, rest[:SECRET_BYTES])
