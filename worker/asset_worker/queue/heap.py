"""Pending assets by due time: memory and arithmetic, no clock of its own.

A million of these wait in one process, so an entry is a tuple and a slotted record, and not a task, a timer or a
coroutine. All cost is by what is due: log(n) for an asset that is pushed or popped, nothing for one that waits.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission

NOT_LOOKED_AT = Progress()


class Pending(msgspec.Struct, gc=False):
    """One pending asset. `accepted_mono`, `ready_mono` and `missing_mono` are the monotonic clock's seconds."""

    submission: Submission
    accepted_at: float
    accepted_mono: float
    completion: int
    progress: Progress = NOT_LOOKED_AT
    ready_mono: float | None = None
    missing_mono: float | None = None


class DueHeap:
    """Asset IDs with the monotonic time at which each is due. An ID is in it once at the most."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, AssetId]] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_due(self) -> float | None:
        return self._entries[0][0] if self._entries else None

    def push(self, asset_id: AssetId, due: float) -> None:
        heappush(self._entries, (due, asset_id))

    def push_all(self, entries: list[tuple[float, AssetId]]) -> None:
        """As `push`, for many at once: cheaper when they are many beside what is there."""
        if len(entries) * 8 < len(self._entries):
            for entry in entries:
                heappush(self._entries, entry)
        else:
            self._entries.extend(entries)
            heapify(self._entries)

    def pop_due(self, until: float, limit: int) -> list[tuple[float, AssetId]]:
        """The IDs due at `until` or before, with their due times and in the order of these, `limit` at most."""
        due: list[tuple[float, AssetId]] = []
        while self._entries and len(due) < limit and self._entries[0][0] <= until:
            due.append(heappop(self._entries))
        return due

    def count_due(self, now: float, limit: int) -> int:
        """How many are due, `limit` at most: a walk of the heap's top, so that the cost is by what is due."""
        count, places = 0, [0]
        while places and count < limit:
            place = places.pop()
            if place < len(self._entries) and self._entries[place][0] <= now:
                count += 1
                places += (2 * place + 1, 2 * place + 2)
        return count
