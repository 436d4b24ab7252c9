"""What the poller makes of a wall clock that is set, or of a machine that sleeps."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from asset_worker.domain.assets import Expectations, asset_from
from asset_worker.poller.loop import Poller
from asset_worker.runtime.stop import Stop
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, SCHEDULE
from tests.doubles.polling import events_in, outcomes, policy, put, queue_in_memory

HOUR = 3600.0


class Growing:
    """An API with one asset, which is ready `ready_after` seconds after the start, and its HLS rendition later."""

    latest_failure = None
    stalled_for = 0.0
    may_list = True
    lists_are_limited = False
    has_capacity = True

    def __init__(self, *, ready_after, hls_after):
        self.ready_after, self.hls_after = ready_after, hls_after

    async def wait_for_capacity(self):
        pass

    async def retrieve(self, asset_id):
        now = asyncio.get_running_loop().time()
        if now < self.ready_after:
            return asset_from({"_id": asset_id, "status": "processing"})
        hls = "ready" if now >= self.hls_after else "processing"
        return asset_from({"_id": asset_id, "status": "ready", "hls": {"status": hls}})


@asynccontextmanager
async def polling(api, **expected):
    """A poller that has just accepted one asset. Provides its clock and its queue."""
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(expectations=Expectations(**expected)), clock=clock)
    await put(queue, [ID])
    running = asyncio.ensure_future(poller.run(stop))
    try:
        yield clock, queue
    finally:
        stop.set("test")
        await running


def instants(event):
    names = ("submitted_at", "ready_at", "last_seen_waiting_at", "completed_at")
    return [datetime.fromisoformat(event["data"][name]).timestamp() for name in names]


@pytest.mark.virtual_time
@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR, 365 * 24 * HOUR])
async def test_a_wall_clock_that_is_set_gives_no_other_outcome_and_times_that_fit_together(step):
    async with polling(Growing(ready_after=1000.0, hls_after=3000.0)) as (clock, queue):
        await asyncio.sleep(500.0)
        clock.stepped = step
        await asyncio.sleep(1500.0)
        clock.stepped = -step
        await queue.idle()
        now = clock.now()
        [event] = await events_in(queue)
    assert outcomes([event]) == {ID: "ready"}
    submitted, ready, waiting, completed = instants(event)
    assert completed == pytest.approx(now, abs=0.01), "by the wall clock as it is now"
    assert datetime.fromisoformat(event["time"]).timestamp() == completed
    assert completed - submitted == pytest.approx(3000.0, abs=31)
    assert ready - submitted == pytest.approx(1000.0, abs=31)
    assert completed - waiting <= 31


@pytest.mark.virtual_time
async def test_time_in_suspend_counts_toward_the_deadline():
    async with polling(Growing(ready_after=1e9, hls_after=1e9), deadline=4 * HOUR) as (clock, queue):
        await asyncio.sleep(HOUR)
        clock.suspend(2.9 * HOUR)
        await asyncio.sleep(300.0)
        assert queue.pending_count(), "four hours are not over"
        await asyncio.sleep(100.0)
        assert outcomes(await events_in(queue)) == {ID: "timed_out"}
