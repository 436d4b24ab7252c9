"""(b) Lag when requests are scarce: sixty a minute for two thousand assets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from asset_worker.settings.tree import Limits, Poll
from tests.bench.grid import Cell, measure
from tests.bench.workloads import FILMS, MIX, Workload, taught
from tests.bench.world import BATCH, LATENCY, Row, World, summary
from tests.doubles.virtual_time import run_virtually

PENDING = 2000
ONE_A_SECOND = Limits(requests_per_second=1)
BURST, STEADY = "burst of 2,000, mix", "steady, 2,000 pending, films"
ROUND_ROBIN = "retrieves, round-robin"


class Scarce(NamedTuple):
    case: str
    way: str


def cases() -> list[Scarce]:
    """All measurements."""
    return [Scarce(case, way) for case in (BURST, STEADY) for way in (ROUND_ROBIN, *BATCH[1:])]


def measure_scarce(scarce: Scarce) -> Row:
    """The lag of one way."""
    case, way = scarce
    if way == ROUND_ROBIN:
        found = _round_robin_burst(MIX) if case == BURST else _round_robin_steady(FILMS)
    elif case == BURST:
        found = run_virtually(_burst(MIX, way))
    else:
        found = measure(Cell(FILMS.name, PENDING, way, is_taught=True, limits=ONE_A_SECOND))
    return {"case": case, "way": way, "lag": found["lag"], "p95": found["p95"]}


async def _burst(workload: Workload, batch: str) -> Row:
    random = Random(2)
    world = World(Poll(batch=batch), taught(workload), limits=ONE_A_SECOND)
    async with world.running():
        for _ in range(PENDING):
            world.add(*workload.draw(random))
        await world.until(lambda: len(world.ended) == PENDING)
        return summary(world.lags())


def _round_robin_burst(workload: Workload) -> Row:
    random = Random(2)
    ends = deque(workload.draw(random)[1] for _ in range(PENDING))
    return summary(_round_robin(ends, more=lambda: None, count=PENDING))


def _round_robin_steady(workload: Workload) -> Row:
    random = Random(4)
    pending = [workload.draw_pending(random) for _ in range(PENDING)]
    ends = deque(duration - age for _, duration, age in pending)
    lags = _round_robin(ends, more=lambda: workload.draw(random)[1], count=2 * PENDING)
    return summary(lags[PENDING:])


def _round_robin(ends: deque[float], *, more: Callable[[], float | None], count: int) -> list[float]:
    """The lags if one asset is retrieved each second, in turn. `more` gives the duration of an asset that follows."""
    lags: list[float] = []
    now = 0.0
    while len(lags) < count:
        now += 1
        end = ends.popleft()
        if end > now + LATENCY / 2:
            ends.append(end)
            continue
        lags.append(now + LATENCY - end)
        if (duration := more()) is not None:
            ends.append(now + duration)
    return lags
