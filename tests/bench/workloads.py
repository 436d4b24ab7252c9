"""The assets that the benchmarks watch: classes of durations, which the first answer shows in part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random

from tests.doubles.optimal_schedule import Durations, log_normal, mixture


@dataclass(frozen=True)
class AssetClass:
    """Assets that the first answer distinguishes from others: their share, and how long they take."""

    share: float
    file_type: str
    method: str
    durations: Durations


@dataclass(frozen=True)
class Workload:
    name: str
    classes: tuple[AssetClass, ...]

    @cached_property
    def mean(self) -> float:
        return sum(each.share * sum(each.durations.quantiles) / len(each.durations.quantiles) for each in self.classes)

    def draw(self, random: Random) -> tuple[AssetClass, float]:
        (asset_class,) = random.choices(self.classes, [each.share for each in self.classes])
        return asset_class, asset_class.durations.sample(random)


_IMAGE = log_normal(3, 0.4)
_SHORT = log_normal(30, 0.5)
_LONG = log_normal(600, 0.5)

IMAGES = Workload(
    "images only",
    (
        AssetClass(0.7, "image/jpeg", "direct", log_normal(2.5, 0.35)),
        AssetClass(0.3, "image/png", "url", log_normal(4, 0.4)),
    ),
)
CLIPS = Workload(
    "short clips",
    (
        AssetClass(0.7, "video/mp4", "direct", log_normal(25, 0.45)),
        AssetClass(0.3, "video/quicktime", "direct", log_normal(40, 0.45)),
    ),
)
MIXED = Workload(
    "mix with long videos",
    (
        AssetClass(0.30, "image/jpeg", "direct", _IMAGE),
        AssetClass(0.10, "audio/mpeg", "url", log_normal(20, 0.5)),
        AssetClass(0.30, "video/mp4", "direct", _SHORT),
        AssetClass(0.18, "video/mp4", "multipart", _LONG),
        # A link says nothing about the length: size and duration are absent while processing.
        AssetClass(0.12, "video/mp4", "url", mixture((0.4, _SHORT), (0.6, _LONG))),
    ),
)
FEATURES = Workload(
    "feature films, 70 minutes each", (AssetClass(1.0, "video/mp4", "multipart", log_normal(4000, 0.4)),)
)
