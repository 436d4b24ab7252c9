"""A heap of assets by due time: memory and arithmetic, without a clock.

A million assets may wait in one process, so an entry is a tuple, not a task, a timer or a coroutine. The cost grows
with what is due: log(n) for each asset that is pushed or popped, nothing for one that waits.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from asset_worker.domain.assets import AssetId


class DueHeap:
    """Asset IDs, each with its due time in monotonic seconds.

    The caller must not push an ID again before it is popped.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[float, AssetId]] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_due(self) -> float | None:
        """The earliest due time; None when the heap is empty."""
        return self._entries[0][0] if self._entries else None

    def push(self, asset_id: AssetId, due: float) -> None:
        """Add one ID."""
        heappush(self._entries, (due, asset_id))

    def push_all(self, entries: list[tuple[float, AssetId]]) -> None:
        """Add many IDs. If they are many compared with the heap, it is rebuilt, which is cheaper."""
        if len(entries) * 8 < len(self._entries):
            for entry in entries:
                heappush(self._entries, entry)
        else:
            self._entries.extend(entries)
            heapify(self._entries)

    def pop_due(self, until: float, limit: int) -> list[tuple[float, AssetId]]:
        """Remove and return at most `limit` IDs due at `until` or before, with their due times, the earliest first."""
        due: list[tuple[float, AssetId]] = []
        while self._entries and len(due) < limit and self._entries[0][0] <= until:
            due.append(heappop(self._entries))
        return due

    def count_due(self, now: float, limit: int) -> int:
        """Return how many IDs are due, counted up to `limit`. Only the top of the heap is visited."""
        count, places = 0, [0]
        while places and count < limit:
            place = places.pop()
            if place < len(self._entries) and self._entries[place][0] <= now:
                count += 1
                places += (2 * place + 1, 2 * place + 2)
        return count
