"""The stop: a flag that is passed to everything that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Stop:
    """A flag that is set once, when work must end. Every wait on it then ends early."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason: str | None = None
        """Why the stop was set; None while it is not set."""

    def set(self, reason: str) -> None:
        """Set the stop. Later calls change nothing: the first reason stays."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def is_set(self) -> bool:
        """Return whether the stop is set."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the stop is set."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`, or until the stop if it comes earlier."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()

    async def race(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of `work`, or cancel it and return None if the stop comes first.

        If both come at once, the result is returned.
        """
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            working.cancel()
            with suppress(asyncio.CancelledError):
                return await working
            return None
        finally:
            working.cancel()
            stopping.cancel()
