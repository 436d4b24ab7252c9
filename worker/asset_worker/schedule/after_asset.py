"""Which renditions still go on when an asset itself has ended: counts by class, with decay.

A rendition may be done by then, or take far longer than the asset. While the asset is processing, the API shows which
renditions were requested, but not that. So it is learned from the looks that find the asset ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from asset_worker.schedule.classes import AssetClass
from asset_worker.schedule.life_table import HALF_LIFE, MOST_EVIDENCE
from asset_worker.schedule.ports import Renditions

_KEPT = 2 ** (-1 / HALF_LIFE)


class Shown(NamedTuple):
    """The assets of a class that showed these renditions while they were processing."""

    name: AssetClass
    renditions: tuple[str, ...]


class AfterAsset:
    """How often which renditions were left, by what the assets had shown before."""

    def __init__(self, counts: Mapping[Shown, Mapping[tuple[str, ...], float]]) -> None:
        self.counts = {shown: dict(each) for shown, each in counts.items()}
        """Of assets, by the renditions that were left."""
        self._others: Mapping[Shown, Mapping[tuple[str, ...], float]] = {}

    def use_others(self, counts: Mapping[Shown, Mapping[tuple[str, ...], float]]) -> None:
        """Count these assets, too, from now on, and no longer those of the last call: others have counted them."""
        self._others = counts

    def add(self, counts: Mapping[Shown, Mapping[tuple[str, ...], float]]) -> None:
        """Add counts. At most what the decay leaves is kept."""
        for shown, added in counts.items():
            each = self.counts.setdefault(shown, {})
            for left, count in added.items():
                each[left] = each.get(left, 0.0) + count
            kept = min(1.0, MOST_EVIDENCE / max(sum(each.values()), 1.0))
            self.counts[shown] = {left: count * kept for left, count in each.items()}

    def count(self, name: AssetClass, seen: Renditions) -> None:
        """Count an asset of this class that has ended; older ones count half after `HALF_LIFE` newer ones."""
        each = self.counts.setdefault(Shown(name, seen.shown), {})
        for left in each:
            each[left] *= _KEPT
        each[seen.left] = each.get(seen.left, 0.0) + _KEPT

    def evidence(self, shown: Shown) -> float:
        """Return how many such assets were counted, with decay."""
        return sum(self.counts.get(shown, {}).values()) + sum(self._others.get(shown, {}).values())

    def shares(self, shown: Shown) -> dict[tuple[str, ...], float]:
        """Return the share of such assets by the renditions that were left; empty: none was counted."""
        total = self.evidence(shown)
        own, others = self.counts.get(shown, {}), self._others.get(shown, {})
        return {left: (own.get(left, 0.0) + others.get(left, 0.0)) / total for left in {*own, *others}} if total else {}
