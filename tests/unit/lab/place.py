"""A place where what needs a private network can be made, though none runs."""

from __future__ import annotations

from pathlib import Path

from rbcluster.lab.network import PrivateNetwork


class PlaceOnly(PrivateNetwork):
    """A network that does not run: a directory, and lines for a torrc."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self._place = place

    @property
    def directory(self) -> Path:
        return self._place

    @property
    def client_torrc_lines(self) -> tuple[str, ...]:
        return ('DirAuthority "x"', "TestingTorNetwork 1")
