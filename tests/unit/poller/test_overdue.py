"""Assets past their age limit are settled in time, though no request can be sent: whoever waits for them knows."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.assets import Expectations
from asset_worker.domain.submissions import Options
from asset_worker.poller.loop import GIVE_UP_EVERY_SECONDS, Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from tests.doubles.api import READY, ListingApi, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, SCHEDULE
from tests.doubles.polling import events_in, outcomes, policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time

MANY = [f"{number:024x}" for number in range(1, 801)]


class HeldUp(ListingApi):
    """Sends nothing, as in a pause of an hour; one request waits for its turn, and nothing more is taken."""

    def __init__(self):
        super().__init__({})
        self.nobody_waits = asyncio.Event()
        self.nobody_waits.set()
        self.stalled_for = 10.0

    async def wait_for_capacity(self):
        await self.nobody_waits.wait()

    async def retrieve(self, asset_id):
        self.nobody_waits.clear()
        try:
            await asyncio.sleep(3600)
        finally:
            self.nobody_waits.set()

    async def list_assets(self, asset_ids):
        return await self.retrieve(asset_ids)


async def events_after(seconds, submissions, *, last_look=60.0, factor=2.0, batching=None, api=None):
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    expectations = Expectations(deadline=1000.0, unanswered_factor=factor)
    rules = policy(expectations=expectations, batching=batching, last_look=last_look)
    poller = Poller(queue, api or HeldUp(), schedule=SCHEDULE, policy=rules, clock=clock)
    for ids, options in submissions:
        await put(queue, ids, options)
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(seconds)
    stop.set("test")
    running.cancel()
    await asyncio.wait([running])
    return outcomes(await events_in(queue)), queue


@pytest.mark.parametrize("batching", [None, Batching()], ids=["retrieves", "lists"])
async def test_many_assets_end_within_a_second_of_a_strict_deadline(batching):
    short = Options(deadline=5)
    found, _ = await events_after(6.0, [(MANY, short)], factor=1.0, last_look=0.0, batching=batching)
    assert found == dict.fromkeys(MANY, "timed_out")


async def test_a_short_deadline_of_a_submission_is_kept_behind_long_ones():
    first, last = MANY[:100], MANY[100:110]
    found, queue = await events_after(6.6, [(first, None), (last, Options(deadline=3))])
    assert found == dict.fromkeys(last, "timed_out")
    assert queue.pending_count() == len(first)


async def test_before_the_age_limit_nothing_is_given_up():
    found, _ = await events_after(5.9, [(MANY[:10], Options(deadline=3))])
    assert found == {}


async def test_while_requests_go_out_assets_past_their_age_limit_get_their_look():
    api = HeldUp()
    api.stalled_for = 0.0
    found, _ = await events_after(30.0, [(MANY[:10], None), (MANY[10:20], Options(deadline=3))], api=api)
    assert found == {}


async def test_an_asset_that_is_due_past_its_age_limit_is_given_up_without_a_look_while_no_request_can_be_sent():
    api, clock, stop = ScriptedApi(READY), LoopClock(asyncio.get_running_loop()), Stop()
    api.stalled_for = 10.0
    queue = queue_in_memory(clock)
    await put(queue, [ID])
    await asyncio.sleep(10)
    rules = policy(expectations=Expectations(deadline=3.0), last_look=0.0)
    running = asyncio.ensure_future(Poller(queue, api, schedule=SCHEDULE, policy=rules, clock=clock).run(stop))
    await asyncio.sleep(GIVE_UP_EVERY_SECONDS / 2)
    assert (outcomes(await events_in(queue)), api.asked) == ({ID: "timed_out"}, 0)
    stop.set("test")
    await running
