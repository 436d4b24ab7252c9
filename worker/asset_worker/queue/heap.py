"""A heap of assets by due time: memory and arithmetic, without a clock.

A million assets may wait in one process, so an entry is a tuple, not a task, a timer or a coroutine. The cost grows
with what is due: log(n) for each asset that is pushed or popped, nothing for one that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

from asset_worker.domain.assets import AssetId

VISITED_AT_MOST: Final = 5_000
"""When so many entries have been visited, `count_due` ends: a millisecond of work."""


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
        """Return how many IDs are due, counted up to `limit`. Only the top of the heap is visited.

        Of entries that no longer count, as many are passed over as `VISITED_AT_MOST` allows.
        """
        entries, counts, size = self._entries, self._counts, len(self._entries)
        found: set[AssetId] = set()
        visited, level = 0, [0] if size else []
        while level and len(found) < limit and visited < VISITED_AT_MOST:
            level = [place for place in level if entries[place][0] <= now]
            visited += len(level)
            found.update(asset_id for due, asset_id in map(entries.__getitem__, level) if counts(asset_id, due))
            level = [child for place in level for child in (2 * place + 1, 2 * place + 2) if child < size]
        return min(len(found), limit)
