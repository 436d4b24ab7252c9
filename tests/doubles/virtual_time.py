"""An event loop that skips idle time: hours of waiting take milliseconds."""

import asyncio
import selectors
import threading
from typing import Any

STALLED_SECONDS = 1.0
"""How long to wait for real events, in real seconds, while no timer is set."""


class _SkippingSelector(selectors.DefaultSelector):
    """Returns what is ready at once, and skips the time that it was to wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0.0
        """Seconds, in all."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and len(self.get_map()) == 1 and threading.active_count() == 1:
            return []  # nothing but the loop itself could make its one descriptor ready, and it is not waiting
        ready = super().select(0)
        if not ready and timeout is None:
            return super().select(STALLED_SECONDS)
        if not ready and timeout is not None and timeout > 0:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0. Work in threads does not advance it, but may let it jump to the next timer."""

    def __init__(self) -> None:
        self._virtual = _SkippingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.skipped

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for the threads as long as they take: the limit that Python 3.12 and later set would be skipped."""
        await super().shutdown_default_executor()


def run_virtually(main: Any) -> Any:
    """`asyncio.run` in virtual time, for tests that are not coroutines."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
