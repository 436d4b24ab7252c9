"""Runs of the whole poller in virtual time, whose events are compared with the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

import msgspec
from structlog.testing import capture_logs

from asset_worker.domain.assets import Expectations
from asset_worker.domain.submissions import Options
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.ports import SlowAfter, never_known
from asset_worker.schedule.waits import exponential, from_tenacity
from asset_worker.simulator.lifecycles import KINDS, Lifecycle, Rendition
from tests.doubles.clocks import LoopClock
from tests.doubles.polling import events_in, policy, put, queue_in_memory
from tests.doubles.truth_check import Expected, Findings, check
from tests.doubles.world import World

EXPECTATIONS = Expectations(deadline=400, rendition_deadline=150, not_found_grace=20)
DONE = Lifecycle(hls=Rendition(), thumbnail=Rendition())


class Watched(msgspec.Struct):
    """A run of the poller, and what came of it."""

    world: World
    findings: Findings
    events: list[dict[str, Any]]
    logs: list[Any]
    from_lists: int
    """Assets that were settled from lists, as the poller counts them."""

    def logged(self, name: str) -> list[Any]:
        return [log for log in self.logs if log["event"] == name]


Arrival = tuple[float, Sequence[str], Options | None]


async def watch(
    world: World,
    arrivals: Sequence[Arrival],
    *,
    seconds: float,
    slow_after: SlowAfter = never_known,
    **changes: Any,
) -> Watched:
    """Submit assets, each group at its moment, poll until all are settled, and compare the events with the truth."""
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    growing = exponential(initial=2, multiplier=1.5, maximum=30, uniform=Random(1).random)
    changes = {"looks_at_once": 8, "batching": Batching()} | changes
    poller = Poller(
        queue,
        world,
        schedule=from_tenacity(growing),
        policy=policy(expectations=EXPECTATIONS, **changes),
        clock=clock,
        slow_after=slow_after,
        uniform=Random(2).random,
    )
    with capture_logs() as logs:
        running = asyncio.ensure_future(poller.run(stop))
        for moment, ids, options in sorted(arrivals, key=lambda each: each[0]):
            await asyncio.sleep(moment - world.now())
            await put(queue, ids, options)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await queue.idle()
        stop.set("test")
        await running
    expected = expected_of(arrivals)
    events = await events_in(queue)
    named = [each for log in logs if log["event"] == "api.list_contradicted" for each in log["asset_ids"]]
    ended = [event for event in events if event["data"]["outcome"] is not None]
    return Watched(world, check(world, ended, expected, named), events, logs, poller.completions_from_lists)


def expected_of(arrivals: Sequence[Arrival]) -> dict[str, Expected]:
    """What is awaited of each asset."""
    return {
        asset_id: Expected(
            accepted=moment,
            deadline=(options and options.deadline) or EXPECTATIONS.deadline,
            rendition_deadline=EXPECTATIONS.rendition_deadline,
            grace=EXPECTATIONS.not_found_grace,
            wait_for={name: mode.value for name, mode in options.wait_for.items()} if options else {},
        )
        for moment, ids, options in arrivals
        for asset_id in ids
    }


def clips(world: World, count: int, lifecycle: Lifecycle, *, born: float) -> list[str]:
    """Add clips with this lifecycle, and return their IDs."""
    return [world.add(lifecycle, KINDS["clip"], born=born) for _ in range(count)]
