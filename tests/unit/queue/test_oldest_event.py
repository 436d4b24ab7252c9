"""How old the oldest event is that a sink lacks: from memory, as of the last look of the engine's maintenance."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.events import rejected
from asset_worker.domain.submissions import Rejection
from asset_worker.queue.memory import MemoryQueue
from asset_worker.sinks.delivery import Delivery
from tests.doubles.clocks import LoopClock
from tests.doubles.local_queue import maintain, open_local, put

pytestmark = pytest.mark.virtual_time

SINKS = ("file", "hook")


def event_at(seconds):
    """An event that was made so many seconds after the epoch."""
    return rejected(Rejection("file:/q", 1, "why", b"x", str(seconds)), at=seconds, source="s")


@pytest.fixture(params=["memory", "local"])
def opened(request, tmp_path):
    """Opens a queue of each kind."""

    def opened():
        clock = LoopClock(asyncio.get_running_loop())
        if request.param == "memory":
            return MemoryQueue(clock, sinks=SINKS, dedupe_window=60.0, max_pending=99)
        return open_local(tmp_path / "j", clock, sinks=SINKS, independent=("hook",))

    return opened


async def oldest(queue):
    """After maintenance: of each sink."""
    await maintain(queue)
    return tuple(queue.outbox.oldest_at(sink) for sink in SINKS)


async def test_each_sink_has_an_oldest_event_of_its_own(opened):
    queue = opened()
    assert await oldest(queue) == (None, None)
    await put(queue, events=[event_at(each) for each in (10, 20, 30)])
    assert await oldest(queue) == (10, 10)
    await queue.outbox.advance("file", 2, None)
    assert await oldest(queue) == (30, 10)
    taken = await queue.outbox.take("hook", 9, now=0, until=0, without=(), wants=lambda _: True, transitions=0)
    assert await oldest(queue) == (30, 10), "those with a record are still owed"
    await queue.outbox.delivered("hook", taken.events[0].event.position, now=0)
    await queue.outbox.delivered("hook", taken.events[2].event.position, now=0)
    assert await oldest(queue) == (30, 20)
    await queue.outbox.delivered("hook", taken.events[1].event.position, now=0)
    await queue.outbox.advance("file", 3, None)
    assert [queue.outbox.oldest_at(sink) for sink in SINKS] == [None, None], "it is known at once"
    assert await oldest(queue) == (None, None)
    await queue.close()


async def test_a_sink_that_was_behind_is_so_after_a_start(tmp_path):
    clock = LoopClock(asyncio.get_running_loop())
    first = open_local(tmp_path / "j", clock, sinks=SINKS, independent=("hook",))
    await put(first, events=[event_at(each) for each in (10, 20)])
    await first.outbox.advance("file", 1, None)
    await first.close()
    second = open_local(tmp_path / "j", clock, sinks=SINKS, independent=("hook",))
    assert await oldest(second) == (20, 10)
    await second.close()


async def test_the_age_grows_without_another_look(opened):
    queue = opened()
    clock = LoopClock(asyncio.get_running_loop())

    class Sink:
        name, kind = "file", "ordered"

    delivery = Delivery(Sink(), queue.outbox, clock)
    await put(queue, events=[event_at(clock.now() - 5)])
    await maintain(queue)
    before = delivery.oldest_age
    await asyncio.sleep(60)
    assert (before, delivery.oldest_age) == pytest.approx((5.5, 65.5), abs=0.01)
    await queue.outbox.advance("file", 1, None)
    assert delivery.oldest_age == 0
    await queue.close()
