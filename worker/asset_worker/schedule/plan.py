"""The best ages to look at a wait whose hazard is known.

Every second between an end and its detection (the lag) costs 1, and a look costs `price` seconds: one more look must
save that many seconds of lag. While the interval δ between looks is short compared with the time in which the hazard h
changes, a second of waiting costs price/δ for looks and h·δ/2 for lag. The sum is least for δ = √(2·price/h): look at a
rate proportional to √h (J. B. Keller, "Optimum checking schedules for systems subject to random failure", Management
Science 21(3), 1974). When the interval is long, as with two or three looks at an image, dynamic programming finds the
exact optimum over ages that are dense compared with Keller's interval.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import ceil, exp, inf, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from asset_worker.schedule.life_table import BINS, EDGES, WIDTHS, survival_from
from asset_worker.schedule.ramps import Ramp, follow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asset_worker.schedule.life_table import Rates

_POINTS_PER_INTERVAL: Final = 8
_POINTS_PER_BIN: Final = 64
_PATIENCE: Final = _POINTS_PER_INTERVAL
"""The search stops when this many points in a row cost more than the best one."""
_HORIZON: Final = 1e-3
"""Planning stops at the latest at the age to which only this share of waits is expected to last."""


def keller_interval(hazard: float, price: float) -> float:
    """Return the best interval between looks, √(2·price/hazard), in seconds; the hazard is per second."""
    return sqrt(2 * price / hazard) if hazard > 0 else inf


class Plan(msgspec.Struct, frozen=True):
    """When to look at a wait next, at any age. Ages, delays and lag are seconds."""

    ages: Sequence[float]
    """Ages at which a look may be planned, ascending; the first is 0. Beyond the last, too few waits were seen to plan
    for: delays grow as those of the exponential schedule."""
    next_ages: Sequence[float]
    """For each of `ages`, the age of the next look."""
    usual: Ramp
    """The delays of the untaught schedule."""
    first_tail_delay: float
    """The delay after a look at the last of `ages`."""
    tail_growth: float
    """Seconds by which the delays beyond the last of `ages` grow with each second, until they are the usual ones."""
    looks: float
    """The expected number of looks at a new wait, without the one at age 0."""
    lag: float
    """The expected seconds from the end of a new wait to its detection."""
    price: float
    """The price of a look that the plan was made for, in seconds of lag."""

    @property
    def tail_age(self) -> float:
        """The age, in seconds, up to which looks are planned; 0: nothing was learned."""
        return self.ages[-1]

    def delay(self, age: float) -> float:
        """Return the seconds from a look at this age to the next one; interpolated between `ages`."""
        ages, next_ages = self.ages, self.next_ages
        index = bisect_right(ages, age) - 1
        if index >= len(ages) - 1:
            return min(self.first_tail_delay + self.tail_growth * (age - ages[-1]), self.usual.delay(age))
        start = ages[index]
        part = (age - start) / (ages[index + 1] - start)
        return next_ages[index] + part * (next_ages[index + 1] - next_ages[index]) - age

    def first_looks(self, count: int) -> list[float]:
        """Return the ages of the first `count` looks at a new wait, the one at age 0 included."""
        looks = [0.0]
        while len(looks) < count:
            looks.append(looks[-1] + self.delay(looks[-1]))
        return looks


def plan(rates: Rates, *, price: float, floor: float, ceiling: float, until: float, usual: Ramp, growth: float) -> Plan:
    """Return the plan with the least expected cost whose delays are all between `floor` and `ceiling` seconds.

    Args:
        rates: the hazard by bin of age.
        price: the price of a look, in seconds of lag.
        floor: the shortest delay, in seconds.
        ceiling: the longest.
        until: the age, in seconds, up to which the hazard is known. Just before it the hazard is usually at its peak,
            and says nothing about the waits that go on: a plan for it would look at a stuck asset as often for ever.
        usual: the delays of the untaught schedule, which those beyond `until` grow to.
        growth: by how much they grow with each second.
    """
    ages, survival, moments, last_hazard = _candidates(rates, price, floor, ceiling, until)
    last = len(ages) - 1
    kept = survival_from(rates)
    # Nothing planned: the delays are the usual ones from the start.
    first_delay = _clamp(keller_interval(last_hazard, price), floor, usual.delay(ages[last])) if last else inf
    unplanned = Plan([ages[last]], [inf], usual, first_delay, growth, looks=0.0, lag=0.0, price=price)
    tail_looks, tail_lag = follow(unplanned.delay, longest=usual.longest, age=ages[last], survival=kept)

    # to_come is the expected cost from an age on, times the share of waits that last that long. From age i, a next look
    # at age j costs survival[i] * ages[j] + offset[j], apart from terms that do not depend on j.
    to_come = price * tail_looks + tail_lag
    offset = [0.0] * last + [to_come - survival[last] * ages[last] - moments[last]]
    looks = [0.0] * last + [tail_looks]
    next_ages = [0.0] * last + [ages[last] + unplanned.delay(ages[last])]
    furthest = last
    for i in range(last - 1, -1, -1):
        left, age = survival[i], ages[i]
        nearest = min(bisect_left(ages, age + floor, i + 1), last)
        # The best next look from an earlier age is never later than that from a later age.
        limit = bisect_right(ages, age + ceiling, i + 1) - 1
        furthest = max(min(furthest, limit), nearest)
        best, worse = inf, 0
        for j in range(furthest, nearest - 1, -1):
            cost = left * ages[j] + offset[j]
            if cost < best:
                best, furthest, worse = cost, j, 0
            elif (worse := worse + 1) > _PATIENCE:
                break
        looks[i] = left + looks[furthest]
        next_ages[i] = age + _clamp(ages[furthest] - age, floor, ceiling)
        if furthest == limit < last:
            # The longest delay ends between two of the ages.
            part = (age + ceiling - ages[limit]) / (ages[limit + 1] - ages[limit])
            cost = left * (age + ceiling) + offset[limit] + part * (offset[limit + 1] - offset[limit])
            if cost < best:
                best, next_ages[i] = cost, age + ceiling
                looks[i] = left + looks[limit] + part * (looks[limit + 1] - looks[limit])
        to_come = price * left + moments[i] + best
        offset[i] = to_come - left * age - moments[i]

    return msgspec.structs.replace(
        unplanned,
        ages=tuple(ages),
        next_ages=tuple(next_ages),
        looks=looks[0],
        lag=to_come - price * looks[0],
    )


def _candidates(
    rates: Rates, price: float, floor: float, ceiling: float, until: float
) -> tuple[list[float], list[float], list[float], float]:
    """Return the ages at which a look may be planned, several in each of Keller's intervals.

    Returned with them: for each age, the share of waits that last to it, and the share that ended before it times their
    mean duration; and the hazard at the last age, per second.
    """
    ages, survival, moments = [0.0], [1.0], [0.0]
    hazard = 0.0
    for bin_ in range(BINS):
        if EDGES[bin_] >= until or survival[-1] < _HORIZON:
            break
        start, width, rate = EDGES[bin_], WIDTHS[bin_], rates[bin_]
        hazard = rate / width
        step = _clamp(keller_interval(hazard, price), floor, ceiling) / _POINTS_PER_INTERVAL
        parts = min(ceil(width / step), _POINTS_PER_BIN)
        kept = exp(-rate / parts)
        for part in range(1, parts + 1):
            age = start + width * part / parts
            ended = survival[-1] * (1 - kept)
            moments.append(moments[-1] + ended * (ages[-1] + age) / 2)
            survival.append(survival[-1] * kept)
            ages.append(age)
    return ages, survival, moments, hazard


def _clamp(value: float, floor: float, ceiling: float) -> float:
    return min(max(value, floor), ceiling)
