"""How long a wait still lasts, as far as waits like it show: quantiles of what a life table holds.

A quantile is that of the next wait: the estimate is the mean of a posterior distribution (`life_table.estimate`), which
is the predictive distribution, so that few observations make it no narrower than they warrant.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from asset_worker.domain.assets import AssetId
from asset_worker.domain.states import PendingState
from asset_worker.schedule.life_table import BINS, EDGES, survival_at

HALF: Final = 0.5
NINE_TENTHS: Final = 0.9
_STEPS: Final = 40
"""Bisections of the range of ages, which find a quantile to within a microsecond."""


class Forecast(msgspec.Struct, frozen=True):
    """The expected time left of one wait, in seconds from now."""

    p50: float
    """Half of such waits have ended by then."""
    p90: float
    """Nine in ten of them have."""

    def rounded(self) -> Forecast:
        """Return the same, in tenths of a second, as programs are shown it."""
        return Forecast(round(self.p50, 1), round(self.p90, 1))


TimeLeft = Callable[[AssetId, PendingState, float], Forecast | None]
"""Takes a pending asset and the steady time now, and returns how long its wait still lasts; None: that is not known."""


def never_known(asset_id: AssetId, state: PendingState, now: float) -> None:
    """Return None, as a `TimeLeft` without anything learned."""
    del asset_id, state, now


class Point(NamedTuple):
    """One of the durations that stand for the distribution of what follows a step."""

    seconds: float
    share: float
    """How likely it is: the shares of all points add up to 1."""


NOTHING_FOLLOWS: Final = (Point(0.0, 1.0),)


class Step:
    """One step of processing, as waits of a class went through it. Ages are seconds since it began."""

    def __init__(self, survival: Sequence[float], ends: Sequence[float], exposure: Sequence[float]) -> None:
        """`survival` is by `EDGES`; `ends` and `exposure` are what the class itself showed in each bin of age."""
        self.survival = survival
        self._exposure = exposure
        self._ends_after = [*reversed(list(accumulate(reversed(ends)))), 0.0]

    def ends_after(self, age: float) -> float:
        """Return how many of the ends that were seen came after this age, those in its bin included."""
        return self._ends_after[bisect_right(EDGES, age) - 1]

    def waits_at(self, age: float) -> float:
        """Return how many of the waits that were seen lasted to about this age.

        The bin before counts, too: estimates are smoothed over neighbours.
        """
        bin_ = min(bisect_right(EDGES, age), BINS) - 1
        return max(self._exposure[max(bin_ - 1, 0) : bin_ + 1])


class Outlook:
    """When waits on one step, and on what follows it, are over."""

    def __init__(self, step: Step, following: Sequence[Point] = NOTHING_FOLLOWS, *, least_ends: float) -> None:
        """`least_ends`: of fewer ends after an age, nothing is said about waits that last so long."""
        self._step = step
        self._following = following
        self._least_ends = least_ends
        self._at_edges: dict[int, tuple[float, float] | None] = {}

    def after(self, age: float) -> tuple[float, float] | None:
        """Return the ages by which half, and nine tenths, of the waits that lasted to this age are over.

        None: too few of the class were seen at such ages to know that.
        """
        bin_ = bisect_right(EDGES, age) - 1
        if (low := self._at_edge(bin_)) is None or (high := self._at_edge(bin_ + 1)) is None:
            return None
        part = (age - EDGES[bin_]) / (EDGES[bin_ + 1] - EDGES[bin_])
        half, most = (start + part * (end - start) for start, end in zip(low, high, strict=True))
        return half, most

    def _at_edge(self, index: int) -> tuple[float, float] | None:
        if index not in self._at_edges:
            self._at_edges[index] = self._quantiles(EDGES[index])
        return self._at_edges[index]

    def _quantiles(self, age: float) -> tuple[float, float] | None:
        if self._step.ends_after(age) < self._least_ends:
            return None
        # An age to which none of the class was seen to last is the prior's, or that of other classes.
        step_ends = self._quantile(NINE_TENTHS, age, NOTHING_FOLLOWS)
        if step_ends >= EDGES[-1] or self._step.waits_at(step_ends) < 1:
            return None
        return self._quantile(HALF, age, self._following), self._quantile(NINE_TENTHS, age, self._following)

    def _quantile(self, share: float, age: float, following: Sequence[Point]) -> float:
        survival = self._step.survival
        left = (1 - share) * survival_at(age, survival)
        low, high = age, EDGES[-1] * 1.01 + max(point.seconds for point in following)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            on = sum(point.share * survival_at(max(middle - point.seconds, age), survival) for point in following)
            low, high = (middle, high) if on > left else (low, middle)
        return high
