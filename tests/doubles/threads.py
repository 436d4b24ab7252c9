"""Worker threads for tests: their calls run in the event loop, or hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InlineThread:
    """A thread that runs each call at once."""

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)

    def close(self) -> None:
        pass


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


class SuspendingThread:
    """Lets other tasks run before a call and after it, as a real thread does, but always in the same order."""

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0)
        try:
            return call(*args, **kwargs)
        finally:
            await asyncio.sleep(0)

    def close(self) -> None:
        pass
