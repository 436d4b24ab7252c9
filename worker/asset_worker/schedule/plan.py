"""The best times to look at a wait whose hazard is known.

A look costs `price`, and every second between the end and its detection costs 1: the price is in seconds, "one more
look must save this many seconds of lag". Where the interval δ between looks is short against the time in which the
hazard h changes, a wait costs price/δ for looks and h·δ/2 for lag each second, which δ = √(2·price/h) makes least: look
at a rate proportional to √h (J. B. Keller, "Optimum checking schedules for systems subject to random failure",
Management Science 21(3), 1974). Where it is not short, as with two or three looks at an image, the exact answer comes
from dynamic programming over ages that lie dense against Keller's interval.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import ceil, exp, expm1, inf, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, survival_at, survival_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asset_worker.schedule.life_table import Rates

_POINTS_PER_INTERVAL: Final = 8
_POINTS_PER_BIN: Final = 64
_PATIENCE: Final = 4 * _POINTS_PER_INTERVAL
"""Points by which to go on when looking earlier only costs more."""
_HORIZON: Final = 1e-3
"""Planning stops where fewer waits than this are left; from there on looks are spaced evenly."""


def keller_interval(hazard: float, price: float) -> float:
    """The best interval, in seconds, between looks at a wait that ends with `hazard` (per second)."""
    return sqrt(2 * price / hazard) if hazard > 0 else inf


class Plan(msgspec.Struct, frozen=True):
    """When to look at a wait, at whatever age it is seen. Ages, intervals and lag are seconds."""

    ages: Sequence[float]
    next_ages: Sequence[float]
    """For each of `ages`, the age at which to look next."""
    tail: float
    """The interval between looks past the last of `ages`."""
    looks: float
    """Looks to expect for a new wait, the one at age 0 not counted."""
    lag: float
    """Seconds to expect from the end of a new wait to its detection."""
    price: float

    def delay(self, age: float) -> float:
        """Seconds until the next look at a wait seen at `age`."""
        ages, next_ages = self.ages, self.next_ages
        index = bisect_right(ages, age) - 1
        if index >= len(ages) - 1:
            return self.tail
        start = ages[index]
        part = (age - start) / (ages[index + 1] - start)
        return next_ages[index] + part * (next_ages[index + 1] - next_ages[index]) - age

    def first_looks(self, count: int) -> list[float]:
        """The ages of a new wait's first looks, the one at age 0 included."""
        looks = [0.0]
        while len(looks) < count:
            looks.append(looks[-1] + self.delay(looks[-1]))
        return looks


def plan(rates: Rates, *, price: float, floor: float, ceiling: float) -> Plan:
    """The cheapest plan with every delay between `floor` and `ceiling` seconds."""
    ages, survival, moments, tail_hazard = _candidates(rates, price, floor, ceiling)
    last = len(ages) - 1
    tail = _within(keller_interval(tail_hazard, price), floor, ceiling)
    tail_looks = survival[last] / max(-expm1(-tail_hazard * tail), 1e-6)
    tail_lag = survival[last] * tail / 2

    # to_come is the cost from an age on, times the share of waits that last so long. Seen from age i, looking next at
    # age j costs survival[i] * ages[j] + offset[j], and what does not depend on j.
    to_come = price * tail_looks + tail_lag
    offset = [0.0] * last + [to_come - survival[last] * ages[last] - moments[last]]
    chosen = [last] * (last + 1)
    furthest = last
    for i in range(last - 1, -1, -1):
        left, age = survival[i], ages[i]
        nearest = min(bisect_left(ages, age + floor, i + 1), last)
        # An earlier age never has a later next look.
        furthest = max(min(furthest, bisect_right(ages, age + ceiling, i + 1) - 1), nearest)
        best, worse = inf, 0
        for j in range(furthest, nearest - 1, -1):
            cost = left * ages[j] + offset[j]
            if cost < best:
                best, furthest, worse = cost, j, 0
            elif (worse := worse + 1) > _PATIENCE:
                break
        chosen[i] = furthest
        to_come = price * left + moments[i] + best
        offset[i] = to_come - left * age - moments[i]

    looks, i = tail_looks, 0
    while i < last:
        looks += survival[i]
        i = chosen[i]
    return Plan(
        ages=tuple(ages),
        next_ages=tuple(age + _within(ages[j] - age, floor, ceiling) for age, j in zip(ages, chosen, strict=True)),
        tail=tail,
        looks=looks,
        lag=to_come - price * looks,
        price=price,
    )


def _candidates(
    rates: Rates, price: float, floor: float, ceiling: float
) -> tuple[list[float], list[float], list[float], float]:
    """Ages at which a look may be planned, dense against Keller's interval.

    Also the share of waits that last to each, the share that ended by then times their mean duration, and the hazard
    at the last one.
    """
    ages, survival, moments = [0.0], [1.0], [0.0]
    hazard = 0.0
    for bin_ in range(BINS):
        start, width, rate = EDGES[bin_], WIDTHS[bin_], rates[bin_]
        hazard = rate / width
        step = _within(keller_interval(hazard, price), floor, ceiling) / _POINTS_PER_INTERVAL
        parts = min(max(ceil(width / step), 1), _POINTS_PER_BIN)
        kept = exp(-rate / parts)
        for part in range(1, parts + 1):
            age = start + width * part / parts
            ended = survival[-1] * (1 - kept)
            moments.append(moments[-1] + ended * (ages[-1] + age) / 2)
            survival.append(survival[-1] * kept)
            ages.append(age)
        if survival[-1] < _HORIZON:
            break
    return ages, survival, moments, hazard


def expected_looks(ages: Sequence[float], tail: float, rates: Rates) -> float:
    """Looks to expect of a plan that looks at `ages` (the first is 0, and not counted) and then each `tail` seconds."""
    survival = survival_from(rates)
    looks = 0.0
    age = 0.0
    for then in ages[1:]:
        looks += survival_at(age, survival)
        age = then
    while (left := survival_at(age, survival)) > _HORIZON and age < EDGES[-1]:
        looks += left
        age += tail
    return looks


def _within(value: float, floor: float, ceiling: float) -> float:
    return min(max(value, floor), ceiling)
