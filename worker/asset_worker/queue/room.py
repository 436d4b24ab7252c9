"""Back pressure: how much the intakes may hand over now, and since when they have waited for the sinks.

Each pending asset takes room, and so does each event that a sink lacks: a line that is rejected never becomes pending,
but its event is three hundred times as large as the line may be. Settling an asset needs no room, so assets that are
accepted are watched to their end, and a full outbox keeps none of them waiting.
"""

from __future__ import annotations

import asyncio

from asset_worker.runtime.clock import Clock, wall_time
from asset_worker.runtime.log import get_logger

_log = get_logger()


def room_left(limit: int, *, pending: int, undelivered: int) -> int:
    """Return how many lines may be handed over, each of which may become an asset or an event; 0 or less: none.

    There is none at `limit` pending assets, and none with more than `limit` undelivered events.
    """
    return min(limit - pending, limit + 1 - undelivered)


class Room:
    """The room for what the intakes read. The engine says how many assets are pending and events undelivered."""

    def __init__(self, limit: int, clock: Clock) -> None:
        """`limit` is that of `room_left`."""
        self._limit = limit
        self._clock = clock
        self._pending = 0
        self._undelivered = 0
        self._changed = asyncio.Event()
        self._waiting_since: float | None = None
        """When an intake began to wait for the sinks, in steady time; None: none does."""

    def left(self) -> int:
        """Return how many lines may be handed over now; 0 or less: none."""
        return room_left(self._limit, pending=self._pending, undelivered=self._undelivered)

    async def wait(self) -> int:
        """Wait until there is room. Return how many lines may be handed over."""
        while (left := self.left()) <= 0:
            if self._undelivered > self._limit:
                self._begin_to_wait()
            self._changed.clear()
            await self._changed.wait()
        return left

    def set_pending(self, count: int) -> None:
        """Record how many assets are pending."""
        self._pending = count
        self._changed.set()

    def set_undelivered(self, count: int) -> None:
        """Record how many events have not reached every sink yet."""
        self._undelivered = count
        self._changed.set()
        # Lines go on being read as soon as there is room. But while the sinks are slower than the intakes, these wait
        # again after each batch: that is one wait, and it is over when half of the events are delivered.
        if count <= self._limit // 2 and self._waiting_since is not None:
            seconds = self._clock.steady() - self._waiting_since
            self._waiting_since = None
            _log.info("intake.resumed", seconds=round(seconds, 3))

    @property
    def waiting_for_sinks_since(self) -> float | None:
        """Since when the intakes have waited for the sinks, in seconds since the epoch, UTC; None: they don't."""
        return None if self._waiting_since is None else wall_time(self._clock, self._waiting_since)

    def _begin_to_wait(self) -> None:
        if self._waiting_since is None:
            self._waiting_since = self._clock.steady()
            _log.warning("intake.waiting", undelivered=self._undelivered, limit=self._limit)
