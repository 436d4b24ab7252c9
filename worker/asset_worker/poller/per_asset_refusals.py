"""Whether one asset is refused rather than the key: a value that changes with each answer and refusal.

A refused key stops all looks until it works again, whatever the asset. But an asset may be refused again and again
while others are answered in between (another account's, say). Treated as a refused key, it would be asked about every
second and would hold up all others each time.

Nothing here waits or reads a clock; instants are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import Final

from asset_worker.domain.assets import AssetId

REFUSALS: Final = 3
"""Refusals of one asset, each after others were answered, that may still be the key's: one that comes and goes hits the
same asset again by chance."""


class PerAssetRefusals:
    """How often each asset was refused lately, and when the key last worked."""

    def __init__(self) -> None:
        self._answered_at = -math.inf
        self._refused: dict[AssetId, tuple[int, float]] = {}

    def answered(self, asset_id: AssetId, now: float) -> None:
        """Note an answer about this asset: the key works."""
        self._answered_at = now
        self._refused.pop(asset_id, None)

    def refused(self, asset_id: AssetId, now: float) -> bool:
        """Note that a request for this asset was refused (401 or 403).

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
