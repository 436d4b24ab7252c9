"""Whether one asset is refused rather than the key: a value that is updated with each answer and refusal.

A refused key stops all looks until it works again. But one asset (another account's, for example) may be refused again
and again while others are answered in between. If that counted as a refused key, the asset would be requested every
second, and each time the looks at all others would stop.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import Final

from asset_worker.domain.assets import AssetId

REFUSALS: Final = 3
"""This many refusals of one asset, each after others were answered, may still be due to the key: a key that is refused
from time to time may hit the same asset again by chance."""


class PerAssetRefusals:
    """How often each asset was refused, and when the key last worked."""

    def __init__(self) -> None:
        self._answered_at = -math.inf
        self._refused: dict[AssetId, tuple[int, float]] = {}

    def answered(self, asset_id: AssetId, now: float) -> None:
        """Record an answer about this asset: the key works. `now` is in monotonic seconds."""
        self._answered_at = now
        self._refused.pop(asset_id, None)

    def refused(self, asset_id: AssetId, now: float) -> bool:
        """Record that a request for this asset was refused (401 or 403).

        Returns:
            Whether the asset is refused, not the key: more than `REFUSALS` times, each after others were answered.
        """
        count, last = self._refused.get(asset_id, (0, now))
        if not count or self._answered_at > last:
            count += 1
        self._refused[asset_id] = (count, now)
        return count > REFUSALS

    def forget(self, asset_id: AssetId) -> None:
        """Forget an asset that is no longer pending."""
        self._refused.pop(asset_id, None)
