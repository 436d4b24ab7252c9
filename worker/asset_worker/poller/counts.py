"""What the poller counts about looks and about how they end: arithmetic, without a clock."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal

from asset_worker.domain.assets import Asset, Observation, Outcome, Unanswered
from asset_worker.poller.decide import samples
from asset_worker.poller.evidence import TERMINAL_STATUSES
from asset_worker.queue.ports import Lease
from asset_worker.runtime.measures import LONG_SECONDS, Histogram, Names
from asset_worker.schedule.classes import classify

MOST_CLASSES: Final = 16
"""Classes of assets that are shown. There are three steps, each with a histogram for each of them."""


Kind = Literal["list", "retrieve", "none"]
"""How a look is made; `none`: no request could be sent before the asset's deadline. The values are public, as those of
a label."""


class Counts:
    """Looks and completions since the start."""

    def __init__(self) -> None:
        self.looks: dict[str, int] = {"list": 0, "retrieve": 0, "none": 0}
        """Looks by kind, those without an answer included."""
        self.completions: Counter[str] = Counter()
        """Assets settled, by outcome."""
        self.settlements: dict[str, int] = {"list": 0, "retrieve": 0, "none": 0}
        """Assets settled, by the kind of the look that showed the end; `none`: a deadline passed without an answer."""
        self.detection_lags = Histogram[tuple[()]](LONG_SECONDS, keys=[()])
        """Seconds from the last look that showed an asset waiting to its completion."""
        self.durations = Histogram[tuple[str, str]](LONG_SECONDS)
        """Seconds that steps took, by step and class."""
        self._classes = Names(MOST_CLASSES)

    def look(self, kind: Kind) -> None:
        """Count a look."""
        self.looks[kind] += 1

    def settled(self, lease: Lease, outcome: Outcome, observation: Observation, kind: Kind, *, elapsed: float) -> None:
        """Count an asset that was settled `elapsed` seconds after its acceptance, because of this look."""
        self.completions[outcome.value] += 1
        self.settlements["none" if isinstance(observation, Unanswered) else kind] += 1
        if (waiting_at := lease.progress.waiting_at) is not None:
            self.detection_lags.observe((), lease.accepted_at + elapsed - waiting_at)

    def shown(self, lease: Lease, observation: Observation, *, held: float) -> None:
        """Count the durations of the steps that a look, `held` seconds after the lease was taken, found ended.

        Those that ended before the first look are left out: nobody knows when that was.
        """
        if not isinstance(observation, Asset) or observation.status not in TERMINAL_STATUSES:
            return
        for sample in samples(lease, observation, held=held, wall_offset=0.0):
            for found in classify(sample.ended, observation.file_type, observation.method):
                name = self._classes.of(f"{found.file_type} {found.method}")
                self.durations.observe((found.step, name), sample.look.age)
