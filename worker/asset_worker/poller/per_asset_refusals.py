"""Whether it is one asset that is refused, and not the key: a value that changes with what looks have brought.

A refused key stops all looks until it works again, and no asset is at fault. But where the same asset is refused again
and again while others are answered in between, it would be asked about every second, and hold up all others each time.
Nothing here waits or tells the time; instants are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import Final

from asset_worker.domain.assets import AssetId

REFUSALS: Final = 3
"""So often, each time after others were answered: a key that comes and goes does not look like that for one asset."""


class PerAssetRefusals:
    """Assets that were refused lately, and when others were not."""

    def __init__(self) -> None:
        self._answered_at = -math.inf
        self._refused: dict[AssetId, tuple[int, float]] = {}

    def answered(self, asset_id: AssetId, now: float) -> None:
        """The key works: there was an answer about this asset."""
        self._answered_at = now
        self._refused.pop(asset_id, None)

    def refused(self, asset_id: AssetId, now: float) -> bool:
        """The key was refused with this asset; whether it is this asset alone."""
        count, last = self._refused.get(asset_id, (0, now))
        if not count or self._answered_at > last:
            count += 1
        self._refused[asset_id] = (count, now)
        return count > REFUSALS

    def forget(self, asset_id: AssetId) -> None:
        """It is pending no more."""
        self._refused.pop(asset_id, None)
