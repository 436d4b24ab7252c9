"""(a) Requests per completed asset, and lag, by the number of pending assets.

The worker's figures are those of the steady state: the assets that are pending at the start are under way, and each one
that ends makes room for the next. A way of polling that shares nothing costs the same for each asset however many are
pending, so it is computed for one asset at a time, without any limit of requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from asset_worker.schedule.ports import WaitState
from asset_worker.schedule.waits import exponential, fixed, from_tenacity
from asset_worker.settings.tree import Limits, Poll
from tests.bench.workloads import FILMS, MIX, WORKLOADS, Workload, taught
from tests.bench.world import BATCH, LATENCY, Row, World, summary
from tests.doubles.virtual_time import run_virtually

PENDING = (1, 20, 200, 2000)
MANY = 20_000
ACCEPTED_PER_SECOND = 200
"""At the start."""
QUANTILE_STEP = 5
COMPETITORS = {
    "SDK loop, each 5 s": from_tenacity(fixed(interval=5, uniform=lambda: 0.0)),
    "exponential, 1 s ×2 to 60 s": from_tenacity(exponential(initial=1, multiplier=2, maximum=60, uniform=lambda: 0.0)),
}


class Cell(NamedTuple):
    """One measurement of the worker."""

    name: str
    """The workload's: workloads can't be sent to another process."""
    pending: int
    batch: str
    is_taught: bool
    looks: float | None = None
    limits: Limits = Limits()

    @property
    def workload(self) -> Workload:
        return WORKLOADS[self.name]

    @property
    def completions(self) -> int:
        """How many are measured: more where each costs less."""
        if self.workload is FILMS:  # each costs a hundred times as much as an image
            return {1: 50, 20: 150}.get(self.pending, 500)
        return 300 if self.pending == 1 else max(500, self.pending)


def cells() -> Iterator[Cell]:
    """All measurements, those that take longest first."""
    for pending in (MANY, *reversed(PENDING)):
        for name in WORKLOADS if pending != MANY else [MIX.name]:
            for batch in BATCH:
                for is_taught in (False, True):
                    yield Cell(name, pending, batch, is_taught)


def measure(cell: Cell) -> Row:
    """What the worker does on a workload with a constant number of pending assets."""
    found: Row = run_virtually(_measure(cell))
    return {
        "workload": cell.name,
        "pending": cell.pending,
        "way": cell.batch,
        "taught": cell.is_taught,
        **found,
    }


async def _measure(cell: Cell) -> Row:
    random = Random(4)  # the same assets for each way
    learned = taught(cell.workload) if cell.is_taught else None
    world = World(Poll(batch=cell.batch, looks=cell.looks), learned, limits=cell.limits)

    def add_next() -> None:
        world.add(*cell.workload.draw(random))

    world.on_ended = add_next
    async with world.running():
        for number in range(cell.pending):
            asset_class, duration, age = cell.workload.draw_pending(random)
            world.add(asset_class, duration, accepted_ago=age)
            await world.until_time((number + 1) / ACCEPTED_PER_SECOND)
        first, requests, started = len(world.ended), world.requests, world.now
        lists, listed = world.api.lists, world.api.listed
        await world.until(lambda: len(world.ended) >= first + cell.completions)
        count = len(world.ended) - first
        lists, listed = world.api.lists - lists, world.api.listed - listed
        return {
            "assets": count,
            "requests": (world.requests - requests) / count,
            **summary(world.lags(first)),
            "fill": listed / lists if lists else 0.0,
            "requests_per_second": (world.requests - requests) / (world.now - started),
        }


def compete(name: str) -> list[Row]:
    """What each competitor does with one asset, averaged over a workload."""
    rows, workload = [], WORKLOADS[name]
    for way, schedule in COMPETITORS.items():
        found = [
            (asset_class.share, *_alone(schedule, duration))
            for asset_class in workload.classes
            for duration in asset_class.durations.quantiles[QUANTILE_STEP // 2 :: QUANTILE_STEP]
        ]
        total = sum(weight for weight, _, _ in found)
        left, p95 = 0.05 * total, 0.0
        for weight, _, lag in sorted(found, key=lambda each: -each[2]):
            if (left := left - weight) <= 0:
                p95 = lag
                break
        rows.append(
            {
                "workload": workload.name,
                "pending": None,
                "way": way,
                "taught": None,
                "requests": sum(weight * looks for weight, looks, _ in found) / total,
                "lag": sum(weight * lag for weight, _, lag in found) / total,
                "p95": p95,
            }
        )
    return rows


def _alone(schedule, duration: float) -> tuple[int, float]:
    """The requests for one asset, and its lag."""
    looks, now = 1, LATENCY
    while now - LATENCY / 2 < duration:
        now += schedule(WaitState(attempt_number=looks)) + LATENCY
        looks += 1
    return looks, now - duration
