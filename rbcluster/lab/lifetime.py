"""Parts of the lab that are started and stopped: `async with part:` does both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Lifetime(ABC):
    """Something that runs from `start` to `stop`."""

    @abstractmethod
    async def start(self) -> None:
        """Start it, or leave nothing of it and raise."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop it and leave nothing of it; safe to call twice."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
