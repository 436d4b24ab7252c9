"""Single situations: bursts, stuck assets, uploads after a finished library, one asset alone, the exact optimum."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from math import sqrt
from random import Random
from typing import Any

from asset_worker.domain.assets import Expectations
from asset_worker.schedule.adaptive import FLOOR, AdaptiveSchedule
from asset_worker.schedule.learned import LearnedState
from asset_worker.settings.tree import Limits, Poll
from tests.bench.grid import Cell, measure
from tests.bench.workloads import CLIPS, IMAGES, MIX, AssetClass, Workload, taught
from tests.bench.world import BATCH, Row, World
from tests.doubles.optimal_schedule import best_ages, log_normal, uniform, watch
from tests.doubles.virtual_time import run_virtually

BEST = "auto"
QUANTILE_STEP = 5
NO_RATE = Limits(requests_per_second=0, concurrency=1000)
BURST = 400
UPLOADS = 20
SUBMITTED_PER_SECOND = 1.5
LOW_LATENCY = 0.005
"""The sooner a first look finds an asset done, the more it could mislead the schedule."""
FOUR_HOURS = 14_400
CLIP = AssetClass(1.0, "video/mp4", "direct", uniform(55, 65))
TEACHINGS = {
    "55 to 65 s": Workload("55 to 65 s", (CLIP,)),
    "images": IMAGES,
    "mix": MIX,
    "seconds": Workload("seconds", (AssetClass(1.0, "video/mp4", "direct", log_normal(2, 0.2)),)),
}
"""What the schedule has seen before one asset of `CLIP` is stuck."""


ALONE_BEFORE = {"images": (2.824, 0.624), "clips": (6.790, 1.942), "mix": (11.539, 4.106)}
"""Looks and lag of one asset alone, as `watch_alone` measured them with the last version that priced looks."""


def burst(shapes: int) -> float:
    """Seconds until the last event of `BURST` assets that are done before they are submitted, at the defaults."""

    async def run() -> float:
        world = World(Poll(), taught(MIX))
        async with world.running():
            for number in range(BURST):
                fields = {f"field_{number % shapes}": "x"} if shapes > 1 else None
                world.add(CLIP, 0.0, created_ago=3600.0, fields=fields)
            await world.until(lambda: len(world.ended) == BURST)
            return float(world.now)

    return float(run_virtually(run()))


def stuck(teaching: str | None) -> int:
    """Requests for one asset that is stuck for four hours, after what was taught."""

    async def run() -> int:
        learned = taught(TEACHINGS[teaching], completions=2000) if teaching else None
        world = World(Poll(), learned, expectations=Expectations(deadline=FOUR_HOURS))
        async with world.running():
            world.add(CLIP, math.inf)
            await world.until(lambda: len(world.ended) == 1)
            return world.requests

    return int(run_virtually(run()))


def upload_after_library(finished: int) -> float:
    """Requests for one upload that takes 90 s, after so many assets that were finished before they were submitted."""

    async def run(seed: int) -> int:
        world = World(Poll(), latency=LOW_LATENCY, seed=seed)
        async with world.running():
            for number in range(finished):
                await world.until_time(number / SUBMITTED_PER_SECOND)
                world.add(CLIP, 90.0, created_ago=86_400.0)
            await world.until(lambda: len(world.ended) == finished)
            before = world.requests
            world.add(CLIP, 90.0)
            await world.until(lambda: len(world.ended) == finished + 1)
            return world.requests - before

    return float(sum(run_virtually(run(seed)) for seed in range(UPLOADS))) / UPLOADS


def schedule_of(learned: LearnedState | None, *, seed: int = 1) -> AdaptiveSchedule:
    """The default schedule, with what was learned."""
    return AdaptiveSchedule(learned, initial=2, multiplier=1.5, maximum=30, uniform=Random(seed).random)


def watch_alone(schedule: AdaptiveSchedule, workload: Workload) -> tuple[float, float]:
    """Mean looks and lag of a schedule at one asset alone, without latency."""
    looks = lag = 0.0
    for asset_class in workload.classes:
        durations = asset_class.durations.quantiles[QUANTILE_STEP // 2 :: QUANTILE_STEP]
        found = [
            watch(schedule, each, file_type=asset_class.file_type, method=asset_class.method) for each in durations
        ]
        looks += asset_class.share * sum(each for each, _ in found) / len(found)
        lag += asset_class.share * sum(each for _, each in found) / len(found)
    return looks, lag


def looks_at_lag_before(workload: Workload) -> float:
    """Looks at one asset alone at the lag of before, relative to the looks of before."""
    looks_before, goal = ALONE_BEFORE[workload.name]
    schedule = schedule_of(taught(workload))
    low, high = 0.005, 500.0
    looks = math.nan
    for _ in range(12):
        schedule.price = sqrt(low * high)
        looks, lag = watch_alone(schedule, workload)
        low, high = (schedule.price, high) if lag < goal else (low, schedule.price)
    return looks / looks_before


def cost_against_optimum(workload: Workload) -> float:
    """The cost of the taught schedule, in seconds of lag, relative to the exact optimum at its price of a look."""
    schedule = schedule_of(taught(workload))
    looks, lag = watch_alone(schedule, workload)
    price = schedule.price
    best = 0.0
    for asset_class in workload.classes:
        ages = best_ages(asset_class.durations, price, floor=FLOOR, ceiling=30.0)
        durations = asset_class.durations.quantiles[QUANTILE_STEP // 2 :: QUANTILE_STEP]
        for duration in durations:
            index = bisect_left(ages, duration)
            best += asset_class.share * (price * (index + 1) + ages[index] - duration) / len(durations)
    return (price * looks + lag) / best


def unlimited(batch: str, looks: float | None) -> Row:
    """The mix with two thousand pending, without a rate."""
    return measure(Cell(MIX.name, 2000, batch, is_taught=True, looks=looks, limits=NO_RATE)) | {"looks": looks}


SITUATIONS: dict[str, Callable[[], Any]] = {
    **{f"burst, {shapes} shapes": partial(burst, shapes) for shapes in (1, 10)},
    **{f"stuck, taught {name}": partial(stuck, name) for name in (None, *TEACHINGS)},
    **{f"upload after {finished}": partial(upload_after_library, finished) for finished in (0, 60)},
    **{f"alone, {each.name}": partial(looks_at_lag_before, each) for each in (IMAGES, CLIPS, MIX)},
    **{f"optimum, {each.name}": partial(cost_against_optimum, each) for each in (IMAGES, CLIPS, MIX)},
    **{f"no rate, {batch}": partial(unlimited, batch, None) for batch in BATCH},
    **{f"no rate, {looks} looks": partial(unlimited, BEST, looks) for looks in (6, 8, 10, 12, 16, 24)},
}


def measure_situation(name: str) -> tuple[str, Any]:
    """A situation's name and figure."""
    return name, SITUATIONS[name]()
