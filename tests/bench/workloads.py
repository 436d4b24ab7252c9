"""The assets that the benchmarks watch: classes of durations, which the first answer shows in part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from random import Random

from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState
from tests.doubles.optimal_schedule import Durations, log_normal, mixture, watch

COMPLETIONS = 500
"""A taught schedule has seen so many assets of its workload."""


@dataclass(frozen=True)
class AssetClass:
    """Assets that the first answer distinguishes from others: their share, and how long they take."""

    share: float
    file_type: str
    method: str
    durations: Durations

    @property
    def mean(self) -> float:
        return sum(self.durations.quantiles) / len(self.durations.quantiles)

    @property
    def renditions(self) -> tuple[str, ...]:
        """What the API makes of such an asset."""
        kind = self.file_type.partition("/")[0]
        return {"image": ("thumbnail",), "audio": ("hls",), "video": ("hls", "thumbnail")}[kind]


@dataclass(frozen=True)
class Workload:
    name: str
    classes: tuple[AssetClass, ...]

    @property
    def mean(self) -> float:
        return sum(each.share * each.mean for each in self.classes)

    @property
    def pooled(self) -> Durations:
        """The durations of all classes together."""
        return mixture(*((each.share, each.durations) for each in self.classes))

    def draw(self, random: Random) -> tuple[AssetClass, float]:
        """The class of a new asset, and how long it takes."""
        (asset_class,) = random.choices(self.classes, [each.share for each in self.classes])
        return asset_class, asset_class.durations.sample(random)

    def draw_pending(self, random: Random) -> tuple[AssetClass, float, float]:
        """The class, duration and age of an asset that is pending at a random instant: long ones are seen more."""
        each = self._quantiles
        (place,) = random.choices(range(len(each)), cum_weights=self._weights)
        asset_class, duration = each[place]
        return asset_class, duration, duration * random.random()

    @cached_property
    def _quantiles(self) -> list[tuple[AssetClass, float]]:
        return [(each, duration) for each in self.classes for duration in each.durations.quantiles]

    @cached_property
    def _weights(self) -> list[float]:
        return list(accumulate(each.share * duration for each, duration in self._quantiles))


_IMAGE = log_normal(3, 0.4)
_SHORT = log_normal(30, 0.5)
_LONG = log_normal(600, 0.5)

IMAGES = Workload(
    "images",
    (
        AssetClass(0.7, "image/jpeg", "direct", log_normal(2.5, 0.35)),
        AssetClass(0.3, "image/png", "url", log_normal(4, 0.4)),
    ),
)
CLIPS = Workload(
    "clips",
    (
        AssetClass(0.7, "video/mp4", "direct", log_normal(25, 0.45)),
        AssetClass(0.3, "video/quicktime", "direct", log_normal(40, 0.45)),
    ),
)
MIX = Workload(
    "mix",
    (
        AssetClass(0.30, "image/jpeg", "direct", _IMAGE),
        AssetClass(0.10, "audio/mpeg", "url", log_normal(20, 0.5)),
        AssetClass(0.30, "video/mp4", "direct", _SHORT),
        AssetClass(0.18, "video/mp4", "multipart", _LONG),
        # A link says nothing about the length: size and duration are absent while processing.
        AssetClass(0.12, "video/mp4", "url", mixture((0.4, _SHORT), (0.6, _LONG))),
    ),
)
FILMS = Workload("films", (AssetClass(1.0, "video/mp4", "multipart", log_normal(4000, 0.4)),))
"""Feature films: 70 minutes each."""
TWO_SPEEDS = Workload(
    "two speeds in each class",
    (
        AssetClass(0.5, "video/mp4", "direct", mixture((0.5, log_normal(10, 0.3)), (0.5, log_normal(300, 0.3)))),
        AssetClass(0.5, "video/mp4", "url", mixture((0.8, log_normal(30, 0.3)), (0.2, log_normal(1200, 0.3)))),
    ),
)
WORKLOADS = {each.name: each for each in (IMAGES, CLIPS, MIX, FILMS)}


@cache
def taught(workload: Workload, *, completions: int = COMPLETIONS, looks: float | None = None) -> LearnedState:
    """What a schedule has learned from assets of the workload, each polled alone."""
    random = Random(1)
    schedule = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=30, looks=looks, uniform=random.random)
    for _ in range(completions):
        asset_class, duration = workload.draw(random)
        watch(
            schedule,
            duration,
            learner=schedule,
            file_type=asset_class.file_type,
            method=asset_class.method,
            shown=asset_class.renditions,
        )
    return schedule.learned()
