"""Forecasts are calibrated: about nine in ten waits end before the p90 that was given, whatever their age then.

A wait ends with its completion event, so the look that finds the end is part of it. The worker watches the assets of
the benchmarks, in virtual time, with the schedule that 500 assets of the same workload have taught.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import log
from random import Random

import pytest

from asset_worker.poller.foresight import make_time_left
from asset_worker.settings.tree import Poll
from tests.bench.workloads import CLIPS, FILMS, IMAGES, MIX, TWO_SPEEDS, Workload, taught
from tests.bench.world import NO_DEADLINE, World

pytestmark = [pytest.mark.virtual_time, pytest.mark.usefixtures("hours_pass")]

AGES = {"first look": 0.0, "middle": 0.5, "late": 0.75}
"""When forecasts are asked for: at the age that this share of the class does not reach, once it was looked at."""
PENDING = 100
Given = dict[str, list[tuple[float, float, float]]]
"""At each age: half and nine tenths of such waits last so long, in seconds, and how long this one lasted."""


async def observed(
    workload: Workload,
    count: int,
    poll: Poll,
    *,
    hls: Callable[[Random], float] = lambda random: 0.0,
    first: int = 0,
) -> tuple[Given, int]:
    """What was forecast for so many assets, about a hundred of them pending at a time, and how often nothing was.

    `hls` draws how long a stream takes. The schedule learns from `first` assets before that; 0: it was taught.
    """
    world, random = World(poll, None if first else taught(workload)), Random(5)
    loop, time_left = asyncio.get_running_loop(), make_time_left(NO_DEADLINE, world.schedule)
    asked: list[tuple[str, str, float, float, float]] = []
    unknown = 0

    async def ask(asset_id: str, name: str) -> None:
        nonlocal unknown
        state = (await world.queue.find(asset_id)).pending
        while state is not None and state.progress.polls == 0:
            await asyncio.sleep(0.1)
            state = (await world.queue.find(asset_id)).pending
        if state is None:
            return
        if (left := time_left(asset_id, state, world.queue._clock.steady())) is None:
            unknown += 1
        else:
            asked.append((name, asset_id, loop.time(), left.p50, left.p90))

    async with world.running(), asyncio.TaskGroup() as asking:
        for number in range(first + count):
            asset_class, duration = workload.draw(random)
            asset_id: str = world.add(asset_class, duration, hls=hls(random))
            for name, share in AGES.items() if number >= first else ():
                at = asset_class.durations.quantile(share) if share else 0.0
                loop.call_later(at, lambda *each: asking.create_task(ask(*each)), asset_id, name)
            await asyncio.sleep(random.expovariate(PENDING / workload.mean))
        await world.until(lambda: len(world.ended) == first + count)
    ended = {watched.created.id: at for watched, at, _ in world.ended}
    found: Given = {name: [] for name in AGES}
    for name, asset_id, at, half, most in asked:
        found[name].append((half, most, ended[asset_id] - at))
    return found, unknown


def shares(given: list[tuple[float, float, float]]) -> tuple[float, float]:
    """The shares of waits that ended before half of such waits were to have ended, and before nine tenths of them."""
    return (
        sum(lasted <= half for half, _, lasted in given) / len(given),
        sum(lasted <= most for _, most, lasted in given) / len(given),
    )


def check(found: Given) -> None:
    for name, given in found.items():
        half, most = shares(given)
        assert 0.85 <= most <= 0.95, (name, len(given), most)
        assert 0.4 <= half <= 0.7, (name, len(given), half)


@pytest.mark.parametrize(
    ("workload", "count", "longest"),
    [
        pytest.param(IMAGES, 500, 30.0, id="images"),
        pytest.param(CLIPS, 500, 30.0, id="clips"),
        pytest.param(MIX, 400, 30.0, id="mix"),
        pytest.param(FILMS, 150, 120.0, id="films"),
        pytest.param(TWO_SPEEDS, 400, 30.0, id="two-speeds"),
    ],
)
async def test_nine_in_ten_waits_end_before_the_p90_that_was_given(workload: Workload, count: int, longest: float):
    found, unknown = await observed(workload, count, Poll(max=longest))
    check(found)
    assert unknown <= 0.05 * count, "each of its classes has been seen often enough"


async def test_the_wait_for_a_stream_after_the_asset_is_part_of_it():
    """The schedule learns while it works. A stream takes some 15 s more, and one in three is done with the asset."""

    def hls(random: Random) -> float:
        return random.lognormvariate(log(15), 0.4) if random.random() < 0.67 else 0.0

    found, _ = await observed(CLIPS, 300, Poll(), hls=hls, first=150)
    check(found)
