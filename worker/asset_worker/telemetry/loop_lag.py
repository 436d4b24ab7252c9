"""For how long the event loop is blocked: measured, kept for a minute, and logged when it is long."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from asset_worker.runtime.log import get_logger

_log = get_logger()

CHECK_SECONDS: Final = 0.5
LIMIT_SECONDS: Final = 0.25
"""A longer block is logged: meanwhile signals, due assets and health checks have all waited."""
KEPT_SECONDS: Final = 60.0
"""A scraper that asks every minute, or more often, sees each block."""


class LoopLag:
    """How long the event loop was blocked lately."""

    def __init__(self) -> None:
        self._lags = deque([0.0], maxlen=round(KEPT_SECONDS / CHECK_SECONDS))

    @property
    def worst(self) -> float:
        """The longest time in seconds for which the loop was blocked in the last minute."""
        return max(self._lags)

    async def watch(self) -> None:
        """Measure, and log each block longer than `LIMIT_SECONDS`, forever."""
        loop = asyncio.get_running_loop()
        while True:
            asleep = loop.time()
            await asyncio.sleep(CHECK_SECONDS)
            lag = max(0.0, loop.time() - asleep - CHECK_SECONDS)
            self._lags.append(lag)
            if lag > LIMIT_SECONDS:
                _log.warning("worker.lagging", lag=round(lag, 3))
