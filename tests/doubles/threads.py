"""Worker threads for tests: their calls run in the event loop, or hang."""

from __future__ import annotations

import asyncio
from typing import Any

from asset_worker.runtime.threads import InlineThread


class ClosingThread(InlineThread):
    """A thread that records whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class HangingThread(ClosingThread):
    """A thread whose calls return after ten hours."""

    async def run(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(36_000)


class CountingThread(InlineThread):
    """A thread that counts its calls."""

    def __init__(self) -> None:
        self._count = 0
        self._counted = asyncio.Event()

    async def run(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        self._count += 1
        self._counted.set()
        return call(*args, **kwargs)

    async def has_run(self, count: int) -> None:
        """Wait until this many calls have been made."""
        while self._count < count:
            self._counted.clear()
            await self._counted.wait()
