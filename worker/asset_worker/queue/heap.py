"""A heap of assets by due time: memory and arithmetic, without a clock.

A million assets may wait in one process, so an entry is a tuple, not a task, a timer or a coroutine. The cost grows
with what is due: log(n) for each asset that is pushed or popped, nothing for one that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from asset_worker.domain.assets import AssetId


class DueHeap:
    """Asset IDs, each with its due time in monotonic seconds.

    An entry can't be taken out before it is due. When an ID is pushed again, the caller knows which of its entries
    still counts: the others are passed over.
    """

    def __init__(self, counts: Callable[[AssetId, float], bool]) -> None:
        """`counts` returns whether an entry, an ID with a due time, still counts."""
        self._counts = counts
        self._entries: list[tuple[float, AssetId]] = []

    def __len__(self) -> int:
        """Return how many entries there are, those included that no longer count."""
        return len(self._entries)

    @property
    def next_due(self) -> float | None:
        """The earliest due time; None: there is none."""
        while self._entries:
            due, asset_id = self._entries[0]
            if self._counts(asset_id, due):
                return due
            heappop(self._entries)
        return None

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
        due: dict[AssetId, float] = {}
        while self._entries and len(due) < limit and self._entries[0][0] <= until:
            at, asset_id = heappop(self._entries)
            if asset_id not in due and self._counts(asset_id, at):
                due[asset_id] = at
        return [(at, asset_id) for asset_id, at in due.items()]

    def count_due(self, now: float, limit: int) -> int:
        """Return how many IDs are due, counted up to `limit`. Only the top of the heap is visited."""
        found: set[AssetId] = set()
        places = [0]
        while places and len(found) < limit:
            place = places.pop()
            if place < len(self._entries) and self._entries[place][0] <= now:
                due, asset_id = self._entries[place]
                if self._counts(asset_id, due):
                    found.add(asset_id)
                places += (2 * place + 1, 2 * place + 2)
        return len(found)
