"""Delays that grow with age, as those of the exponential schedule do, and what such delays cost.

Each delay of the exponential schedule is `multiplier` times the one before. Its looks are therefore at ages at which
the next delay is a linear function of the age: initial + (multiplier - 1) · age.
"""

from __future__ import annotations

from bisect import bisect_right
from math import log
from typing import TYPE_CHECKING, Final

import msgspec

from asset_worker.schedule.life_table import BINS, EDGES, survival_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EXACT_LOOKS: Final = 40
"""So many looks are followed one by one, and those with growing delays."""
_MOST_EXACT_LOOKS: Final = 200
_NEGLIGIBLE: Final = 1e-5
"""Of a smaller share of waits, no looks are counted."""


class Ramp(msgspec.Struct, frozen=True):
    """The delays of an exponential schedule, by age. All in seconds, but for `growth`."""

    initial: float
    """The delay at age 0."""
    growth: float
    """Seconds by which the delay grows with each second of age."""
    longest: float
    shortest: float = 0.0

    def delay(self, age: float) -> float:
        """Return the seconds from a look at this age to the next one."""
        return min(max(self.initial + self.growth * age, self.shortest), self.longest)

    def scaled(self, factor: float, *, shortest: float, longest: float) -> Ramp:
        """Return the same delays times `factor`, kept between `shortest` and `longest` seconds."""
        return Ramp(
            self.initial * factor,
            self.growth * factor,
            longest=min(max(self.longest * factor, shortest), longest),
            shortest=shortest,
        )


def follow(
    delay: Callable[[float], float], *, longest: float, age: float, survival: Sequence[float]
) -> tuple[float, float]:
    """Return the expected looks after a look at `age`, and the expected lag in seconds, per wait that began.

    Looks beyond the last of `EDGES`, after 7 h, are not counted.

    Args:
        delay: returns the seconds from a look at an age to the next one; it does not fall with age.
        longest: the delay, in seconds, that `delay` reaches in the end.
        age: the age of the look before, in seconds.
        survival: the share of waits that last to each of `EDGES`.
    """
    began, looks, detected = age, 0.0, 0.0
    left = survival_at(age, survival)
    for count in range(_MOST_EXACT_LOOKS):
        step = delay(age)
        if left < _NEGLIGIBLE or (step >= longest and count >= _EXACT_LOOKS):
            break
        looks += left
        detected += left * step
        age += step
        left = survival_at(age, survival)
    lag = detected - _lived(began, age, survival)
    # From here on, looks are spaced evenly, many to each bin: a sum over looks is half a term more than the integral.
    looks += left / 2
    bin_ = bisect_right(EDGES, age) - 1
    while bin_ < BINS and left > _NEGLIGIBLE:
        end = survival[bin_ + 1]
        looks += (left + end) / 2 * (EDGES[bin_ + 1] - age) / longest
        lag += (left - end) * longest / 2
        age, left, bin_ = EDGES[bin_ + 1], end, bin_ + 1
    return looks, lag


def _lived(start: float, end: float, survival: Sequence[float]) -> float:
    """Return the mean time, in seconds, that a wait lasts between two ages. Within a bin, the hazard is constant."""
    bin_ = bisect_right(EDGES, start) - 1
    total, left = 0.0, survival_at(start, survival)
    while start < end:
        until = min(end, EDGES[bin_ + 1]) if bin_ < BINS else end
        kept = survival_at(until, survival)
        hazard = log(left / kept) if kept > 0 else 0.0
        total += (until - start) * ((left - kept) / hazard if hazard > 1e-9 else (left + kept) / 2)
        start, left, bin_ = until, kept, bin_ + 1
    return total
