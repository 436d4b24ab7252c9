"""When the poller takes what is due: not before a request can go out, and not what nobody can look at in time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from asset_worker.domain.assets import Expectations
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from tests.doubles.api import PROCESSING, READY, ListingApi, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE, lease, seen
from tests.doubles.polling import events_in, outcomes, policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time

MANY = [f"{number:024x}" for number in range(1, 401)]


class Polling:
    """A poller that runs, after some time in which it did not."""

    def __init__(self, api, *, feedback=None, **changes):
        self.clock, self._stop = LoopClock(asyncio.get_running_loop()), Stop()
        self.api, self.queue = api, queue_in_memory(self.clock)
        self._more = {"feedback": feedback, "policy": policy(**changes)}

    async def begin(self):
        self.poller = Poller(
            self.queue, self.api, schedule=SCHEDULE, clock=self.clock, uniform=lambda: 1.0, **self._more
        )
        self._running = asyncio.ensure_future(self.poller.run(self._stop))

    async def end(self):
        self._stop.set("test")
        self._running.cancel()
        await asyncio.wait([self._running])

    async def outcomes(self):
        return outcomes(await events_in(self.queue))


class Narrow(ListingApi):
    """Sends one request at a time, each of which takes a second. The others queue."""

    def __init__(self):
        super().__init__({each: [PROCESSING] for each in MANY})
        self._free = asyncio.Event()
        self._free.set()
        self.requests = 0

    async def wait_for_capacity(self):
        await self._free.wait()

    async def _request(self):
        self.requests += 1
        self._free.clear()
        await asyncio.sleep(1.0)
        self._free.set()

    async def retrieve(self, asset_id):
        await self._request()
        return await super().retrieve(asset_id)

    async def list_assets(self, asset_ids):
        await self._request()
        return await super().list_assets(asset_ids)


@pytest.mark.parametrize(
    ("batching", "late", "requests"),
    [
        pytest.param(None, 0.0, 1, id="retrieves"),
        pytest.param(Batching(), 0.0, 4, id="lists"),
        pytest.param(Batching(), 0.5, 4, id="lists of what is half a second late"),
        pytest.param(Batching(), 0.75, 1, id="lists of what is later"),
    ],
)
async def test_if_looks_are_late_nothing_is_taken_while_a_request_queues(batching, late, requests):
    """Only when one can go out is it known what is most due."""
    polling = Polling(Narrow(), batching=batching)
    await put(polling.queue, MANY)
    await asyncio.sleep(late)
    await polling.begin()
    await asyncio.sleep(0.9)
    assert polling.api.requests == requests
    await polling.end()


async def test_while_the_api_has_no_capacity_nothing_is_taken():
    class Closed(ScriptedApi):
        async def wait_for_capacity(self):
            await asyncio.Event().wait()

    polling = Polling(Closed(READY))
    await put(polling.queue, [ID])
    await polling.begin()
    await asyncio.sleep(1.0)
    assert (polling.api.asked, polling.queue.due_count()) == (0, 1)
    await polling.end()


async def test_while_more_than_two_hundred_assets_are_held_nothing_is_taken():
    class Hanging(ListingApi):
        async def retrieve(self, asset_id):
            self.retrieved.append(asset_id)
            await asyncio.sleep(3600)

    polling = Polling(Hanging({each: [READY] for each in MANY}), batching=Batching(), looks_at_once=40)
    await put(polling.queue, MANY[:250])
    await polling.begin()
    await asyncio.sleep(0.1)
    await put(polling.queue, MANY[250:])
    await asyncio.sleep(0.8)
    assert (len(polling.api.lists), len(polling.api.retrieved), polling.queue.due_count()) == (6, 3, 100)
    await polling.end()


async def test_a_learner_is_told_how_long_no_look_was_due_and_how_late_looks_are():
    class Notes:
        def __init__(self):
            self.idle, self.late = [], []

        def idled(self, seconds):
            self.idle.append(seconds)

        def looked_late(self, lateness, *, since):
            self.late.append(lateness)

        def observe(self, *_, **__):
            pass

        def requested(self, looks):
            pass

    notes = Notes()
    polling = Polling(ScriptedApi(PROCESSING), feedback=Feedback(notes))
    await polling.begin()
    await asyncio.sleep(5.0)
    await put(polling.queue, [ID])
    await asyncio.sleep(6.0)
    assert notes.idle == pytest.approx([5.0, 2.0, 3.0])
    assert notes.late == pytest.approx([0.0, 0.0])
    await polling.end()


STRICT = Expectations(deadline=3.0, unanswered_factor=2.0)


class Stalled(ScriptedApi):
    stalled_for = 1.0


@pytest.mark.parametrize(
    ("stalled_for", "age", "outcome", "asked"),
    [
        pytest.param(1.0, 6.0, "timed_out", 0, id="no request for a second"),
        pytest.param(0.99, 6.0, "ready", 1, id="for less"),
        pytest.param(1.0, 5.9, "ready", 1, id="before its age limit"),
    ],
)
async def test_what_is_taken_at_its_age_limit_while_no_request_can_be_sent_is_given_up(
    stalled_for, age, outcome, asked
):
    polling = Polling(Stalled(READY), expectations=STRICT)
    polling.api.stalled_for = stalled_for
    await put(polling.queue, [ID])
    await asyncio.sleep(age)
    await polling.begin()
    await asyncio.sleep(0.05)
    assert (await polling.outcomes(), polling.api.asked) == ({ID: outcome}, asked)
    await polling.end()


async def test_what_was_given_up_takes_no_slot_of_later_looks():
    polling = Polling(Stalled(READY), expectations=STRICT, looks_at_once=1)
    await put(polling.queue, IDS)
    await asyncio.sleep(10.0)
    await polling.begin()
    await asyncio.sleep(0.05)
    await put(polling.queue, [ID])
    await asyncio.sleep(0.05)
    assert await polling.outcomes() == dict.fromkeys(IDS, "timed_out") | {ID: "ready"}
    await polling.end()


class Closed(Stalled):
    """Sends nothing for a second or more."""

    async def wait_for_capacity(self):
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("stalled_for", "outcomes"), [(1.0, {ID: "timed_out"}), (0.99, {})], ids=["for a second", "for less"]
)
async def test_a_quarter_of_a_second_after_its_age_limit_an_asset_that_nobody_can_look_at_is_given_up(
    stalled_for, outcomes
):
    polling = Polling(Closed(READY), expectations=STRICT)
    polling.api.stalled_for = stalled_for
    await polling.begin()
    await asyncio.sleep(0.1)
    await put(polling.queue, [ID])
    await asyncio.sleep(5.9)
    assert await polling.outcomes() == {}
    await asyncio.sleep(0.35)
    assert await polling.outcomes() == outcomes
    await polling.end()


async def test_an_asset_that_an_earlier_run_left_past_its_limit_gets_its_chance_in_this_one():
    polling = Polling(Closed(READY), expectations=Expectations(deadline=50.0), last_look=60.0)
    await put(polling.queue, [ID])
    await asyncio.sleep(1000.0)
    await polling.begin()
    await asyncio.sleep(59.9)
    assert await polling.outcomes() == {}
    await asyncio.sleep(0.5)
    assert await polling.outcomes() == {ID: "timed_out"}
    await polling.end()


async def test_what_would_follow_from_a_retrieve_is_told_and_not_done():
    polling = Polling(ScriptedApi(READY))
    await polling.begin()
    taken = msgspec.structs.replace(lease(), taken_at=polling.clock.steady())
    step = polling.poller.decide(taken, seen("ready", hls={"status": "processing"}))
    assert isinstance(step, Defer)
    assert step.progress.ready_is_certain
    assert isinstance(polling.poller.decide(taken, seen("ready")), Settle)
    await asyncio.sleep(1.0)
    assert (polling.poller.looks, await polling.outcomes()) == (0, {})
    await polling.end()
