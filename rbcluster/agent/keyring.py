"""The master keys this node can use, and what is derived from them for a period.

Keys are read once, at start, and checked against the address they must belong to; later the key in
memory suffices, whatever becomes of its file. Nothing here is ever logged or sent; blinded keys
and revision sums are kept for the few periods in use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rbcluster.errors import KeyFileError
from rbcluster.hs.address import OnionAddress
from rbcluster.hs.blinding import derive_blinded_keypair
from rbcluster.hs.keys import BlindedKeypair, IdentityKeypair
from rbcluster.hs.revision import RevisionScheme
from rbcluster.hs.time_period import TimePeriod
from rbcluster.tor.key_directory import (
    SECRET_KEY_NAME,
    check_no_client_authorization,
    read_secret_key,
)

_PERIODS_IN_USE = 8  # two slots, the turn of a period, a few services


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodKeys:
    """What publishing for one period takes."""

    keypair: BlindedKeypair
    scheme: RevisionScheme


class Keyring:
    """Master keys by service."""

    def __init__(self, keys: Mapping[OnionAddress, IdentityKeypair]) -> None:
        self._keys = dict(keys)
        self._derive = lru_cache(maxsize=_PERIODS_IN_USE * max(1, len(keys)))(self._derive_period)

    @classmethod
    def load(
        cls, directories: Mapping[OnionAddress, Path], *, may_lack_keys: bool = False
    ) -> Keyring:
        """Read the key directory of each service.

        :param may_lack_keys: whether a service without a key file is left out: the node only
            serves, under keys of its own.
        :raises KeyFileError: if one can't be used, belongs to another address, or asks for client
            authorization, which a merged descriptor can't carry yet.
        """
        keys = {}
        for address, directory in directories.items():
            check_no_client_authorization(directory)
            path = directory / SECRET_KEY_NAME
            if may_lack_keys and not os.path.lexists(path):
                continue
            keypair = read_secret_key(path)
            found = OnionAddress(keypair.public)
            if found != address:
                msg = (
                    f"{path} is the key of {found}, but cluster.toml says {address}: "
                    "put the right key there, or mend the address"
                )
                raise KeyFileError(msg)
            keys[address] = keypair
        return cls(keys)

    def identity(self, address: OnionAddress) -> IdentityKeypair:
        """Return a service's master key.

        :raises KeyFileError: if this node has none for it.
        """
        try:
            return self._keys[address]
        except KeyError as error:
            msg = f"this node has no key for {address}: copy its key directory here"
            raise KeyFileError(msg) from error

    def has(self, address: OnionAddress) -> bool:
        """Tell whether this node can sign for a service."""
        return address in self._keys

    def for_period(self, address: OnionAddress, period: TimePeriod) -> PeriodKeys:
        """Return the blinded key and the revision scheme of one period.

        The first call for a period takes some 5 ms.

        :raises KeyFileError: if this node has no key for the service.
        """
        return self._derive(address, period)

    def _derive_period(self, address: OnionAddress, period: TimePeriod) -> PeriodKeys:
        keypair = derive_blinded_keypair(self.identity(address), period)
        return PeriodKeys(keypair=keypair, scheme=RevisionScheme.from_keypair(keypair))
