"""What assets the benchmarks watch: classes of durations, partly told by the first answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random

from tests.doubles.optimal_schedule import Durations, log_normal, mixture


@dataclass(frozen=True)
class Told:
    """The assets that the first answer tells apart from others: their share, and how long they take."""

    share: float
    file_type: str
    method: str
    durations: Durations


@dataclass(frozen=True)
class Workload:
    name: str
    told: tuple[Told, ...]

    @cached_property
    def mean(self) -> float:
        return sum(each.share * sum(each.durations.quantiles) / len(each.durations.quantiles) for each in self.told)

    def draw(self, random: Random) -> tuple[Told, float]:
        (told,) = random.choices(self.told, [each.share for each in self.told])
        return told, told.durations.sample(random)


_IMAGE = log_normal(3, 0.4)
_SHORT = log_normal(30, 0.5)
_LONG = log_normal(600, 0.5)

IMAGES = Workload(
    "images only",
    (Told(0.7, "image/jpeg", "direct", log_normal(2.5, 0.35)), Told(0.3, "image/png", "url", log_normal(4, 0.4))),
)
CLIPS = Workload(
    "short clips",
    (
        Told(0.7, "video/mp4", "direct", log_normal(25, 0.45)),
        Told(0.3, "video/quicktime", "direct", log_normal(40, 0.45)),
    ),
)
MIXED = Workload(
    "mix with long videos",
    (
        Told(0.30, "image/jpeg", "direct", _IMAGE),
        Told(0.10, "audio/mpeg", "url", log_normal(20, 0.5)),
        Told(0.30, "video/mp4", "direct", _SHORT),
        Told(0.18, "video/mp4", "multipart", _LONG),
        # A link tells nothing of the length: size and duration are absent while processing.
        Told(0.12, "video/mp4", "url", mixture((0.4, _SHORT), (0.6, _LONG))),
    ),
)
FEATURES = Workload("feature films, 70 minutes each", (Told(1.0, "video/mp4", "multipart", log_normal(4000, 0.4)),))
