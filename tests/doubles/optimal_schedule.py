"""Known distributions of durations, the optimal looks for them, and what a schedule costs on them.

Computed without the methods of the program: no bins, no rule of Keller's, no approximations.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from math import erfc, exp, inf, log, sqrt
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING

from asset_worker.schedule.ports import Renditions, WaitState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asset_worker.schedule.adaptive import AdaptiveSchedule
    from asset_worker.schedule.ports import Schedule

_QUANTILES = 2000


@dataclass(frozen=True)
class Durations:
    """A distribution of durations, in seconds, by its cumulative distribution function."""

    name: str
    cdf: Callable[[float], float]
    inverse: Callable[[float], float] | None = None
    """The inverse of `cdf`; None: it has no closed form, and is found by bisection."""

    def quantile(self, share: float) -> float:
        if self.inverse is not None:
            return self.inverse(share)
        low, high = 0.0, 1.0
        while self.cdf(high) < share:
            high *= 2
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.cdf(middle) < share else (low, middle)
        return high

    @cached_property
    def quantiles(self) -> list[float]:
        return [self.quantile((i + 0.5) / _QUANTILES) for i in range(_QUANTILES)]

    def sample(self, random: Random) -> float:
        return self.quantiles[random.randrange(_QUANTILES)]


def log_normal(median: float, sigma: float) -> Durations:
    def cdf(age: float) -> float:
        return 0.5 * erfc(-log(age / median) / sigma / sqrt(2)) if age > 0 else 0.0

    def inverse(share: float) -> float:
        return median * exp(sigma * NormalDist().inv_cdf(share))

    return Durations(f"log-normal {median:g} s, sigma {sigma:g}", cdf, inverse)


def weibull(scale: float, shape: float) -> Durations:
    def inverse(share: float) -> float:
        return scale * float((-log(1 - share)) ** (1 / shape))

    return Durations(f"Weibull {scale:g} s, shape {shape:g}", lambda age: 1 - exp(-((age / scale) ** shape)), inverse)


def exponential(mean: float) -> Durations:
    return Durations(f"exponential {mean:g} s", lambda age: 1 - exp(-age / mean), lambda share: -mean * log(1 - share))


def uniform(low: float, high: float) -> Durations:
    def cdf(age: float) -> float:
        return min(max((age - low) / (high - low), 0.0), 1.0)

    return Durations(f"uniform {low:g} to {high:g} s", cdf, lambda share: low + share * (high - low))


def mixture(*parts: tuple[float, Durations]) -> Durations:
    name = " + ".join(f"{share:.0%} {part.name}" for share, part in parts)
    return Durations(name, lambda age: sum(share * part.cdf(age) for share, part in parts))


@dataclass(frozen=True)
class Result:
    """Looks (the one at age 0 included) and lag in seconds of each asset."""

    looks: list[int]
    lags: list[float]

    @property
    def mean_looks(self) -> float:
        return sum(self.looks) / len(self.looks)

    @property
    def mean_lag(self) -> float:
        return sum(self.lags) / len(self.lags)

    def cost(self, price: float) -> float:
        return price * self.mean_looks + self.mean_lag


def watch(
    schedule: Schedule,
    duration: float,
    *,
    learner: AdaptiveSchedule | None = None,
    file_type: str | None = "video/mp4",
    method: str | None = "direct",
    shown: tuple[str, ...] = (),
) -> tuple[int, float]:
    """The looks at one asset that takes `duration` seconds, and its lag; `learner` learns from each look.

    It shows these renditions while it is processing, and they end with it.
    """
    age = since = 0.0
    looks = 1
    while age < duration:
        look = WaitState(attempt_number=looks, age=age, file_type=file_type, method=method)
        if learner:
            learner.observe(look, since=since)
        since, age = age, age + schedule(look)
        looks += 1
    if learner:
        done = WaitState(attempt_number=looks, age=age, waiting_on=(), file_type=file_type, method=method)
        learner.observe(done, since=since, ended=("asset",), renditions=Renditions(shown, ()))
    return looks, age - duration


def teach(learner: AdaptiveSchedule, durations: Durations, count: int, seed: int = 1) -> AdaptiveSchedule:
    random = Random(seed)
    for _ in range(count):
        watch(learner, durations.sample(random), learner=learner)
    return learner


def measure(schedule: Schedule, durations: Durations) -> Result:
    pairs = [watch(schedule, duration) for duration in durations.quantiles]
    return Result([looks for looks, _ in pairs], [lag for _, lag in pairs])


def measure_ages(ages: Sequence[float], durations: Durations) -> Result:
    """The result of looks at fixed ages, the first of them 0."""
    found = [bisect_left(ages, duration) for duration in durations.quantiles]
    lags = [ages[i] - duration for i, duration in zip(found, durations.quantiles, strict=True)]
    return Result([i + 1 for i in found], lags)


def best_ages(durations: Durations, price: float, *, floor: float = 0.0, ceiling: float = inf) -> list[float]:
    """The ages of looks with the least expected cost, by dynamic programming over every pair of points.

    The points are spaced evenly over time and over the quantiles; the last one is past every duration measured.
    """
    end = durations.quantiles[-1] * 1.0001
    points = {0.0, end, *(end * i / 300 for i in range(300)), *durations.quantiles[:: _QUANTILES // 300]}
    if ceiling < inf:
        count = min(int(end / ceiling * 8), 3000)
        points |= {end * i / count for i in range(count)}
    ages = sorted(points)
    share, total, taken = [], 0.0, iter(durations.quantiles)
    sums = []
    duration = next(taken)
    count = 0
    for age in ages:
        while duration <= age:
            count += 1
            total += duration
            duration = next(taken, inf)
        share.append(count)
        sums.append(total)
    to_come = [0.0] * len(ages)
    following = [len(ages) - 1] * len(ages)
    for i in range(len(ages) - 2, -1, -1):
        best = inf
        for j in range(i + 1, len(ages)):
            delay = ages[j] - ages[i]
            if delay > ceiling and j > i + 1:
                break
            if delay < floor and j < len(ages) - 1:
                continue
            lag = (share[j] - share[i]) * ages[j] - (sums[j] - sums[i])
            cost = price * (_QUANTILES - share[i]) + lag + to_come[j]
            if cost < best:
                best, following[i] = cost, j
        to_come[i] = best
    path = [0]
    while path[-1] < len(ages) - 1:
        path.append(following[path[-1]])
    return [ages[i] for i in path]
