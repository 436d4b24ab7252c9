"""The loop: what is taken when, how much is under way, what is learned from it, and the stop."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.api.errors import TransientError
from asset_worker.domain.instants import seconds_of
from asset_worker.poller.feedback import Feedback
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.adaptive import AdaptiveSchedule
from asset_worker.schedule.ports import Renditions
from tests.doubles.api import PROCESSING, READY, ListingApi, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE
from tests.doubles.polling import policy, poll, put, queue_in_memory

pytestmark = pytest.mark.virtual_time


async def test_a_learner_is_shown_each_look():
    class Notes:
        def __init__(self):
            self.seen = []
            self.requests = []

        def observe(self, look, *, since, ended=(), renditions=None):
            self.seen.append((look.phase, round(since, 3), round(look.age, 3), look.waiting_on, ended, renditions))

        def looked_late(self, lateness, *, since):
            assert lateness <= 0.001

        def idled(self, seconds):
            assert seconds >= 0

        def requested(self, looks):
            self.requests.append(looks)

        def chance_of_end(self, look, *, within):
            return 0.0

    notes = Notes()
    hls = {"status": "ready", "hls": {"status": "processing"}}
    api = ListingApi({ID: [PROCESSING, PROCESSING, hls, hls, {"status": "ready", "hls": {"status": "ready"}}]})
    await poll(api, feedback=Feedback(notes), schedule=SCHEDULE)
    assert notes.seen == [
        ("asset", 0, 2, ("asset",), (), None),
        ("asset", 2, 5, (), ("asset",), Renditions(shown=(), left=("hls",))),
        ("renditions", 0, 2, ("hls",), (), None),
        ("renditions", 2, 5, (), ("hls",), None),
    ]
    assert notes.requests == [1] * 5


@pytest.mark.parametrize(
    ("batching", "cost"),
    [pytest.param(None, 1, id="retrieves"), pytest.param(Batching(50, ahead=1), 1 / 3, id="lists")],
)
async def test_a_look_costs_its_share_of_the_request_and_confirmations_cost_nothing(batching, cost):
    learner = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=2, uniform=lambda: 0.5)
    api = ListingApi(dict.fromkeys(IDS, [PROCESSING] * 1000 + [READY]))
    await poll(api, ids=IDS, schedule=learner, feedback=Feedback(learner), batching=batching)
    assert learner.requests_per_look == pytest.approx(cost, rel=0.05)


async def test_looks_under_way_stay_within_their_slots():
    """Though none of the IDs may share a list."""
    under_way, most = 0, 0

    class Counting(ListingApi):
        async def retrieve(self, asset_id):
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return await super().retrieve(asset_id)

    odd = [f"odd-{number}" for number in range(12)]
    api = Counting({each: [PROCESSING] * 8 + [READY] for each in odd})
    events, _, _ = await poll(api, ids=odd, batching=Batching(), schedule=SCHEDULE)
    assert len(events) == 12
    assert most <= 4


@pytest.mark.parametrize("ids", [[ID], IDS], ids=["a retrieve", "a list"])
async def test_nothing_follows_from_a_look_cut_short_by_the_stop(ids):
    """The next start finds the asset as it was."""
    stop = Stop()

    class Stopping(ScriptedApi):
        async def retrieve(self, asset_id):
            stop.set("test")
            return await super().retrieve(asset_id)

        async def list_assets(self, asset_ids):
            return [await self.retrieve(each) for each in asset_ids]

    clock = LoopClock(asyncio.get_running_loop())
    queue = queue_in_memory(clock)
    api = Stopping(TransientError("cut short"))
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=Batching()), clock=clock)
    await put(queue, ids)
    async with asyncio.timeout(10):
        await poller.run(stop)
    assert api.asked
    assert (poller.looks, queue.pending_count()) == (0, len(ids))
    await asyncio.sleep(24 * 3600)
    assert queue.due_count() == 0, "an asset was deferred"


async def test_new_assets_that_come_one_by_one_wait_for_one_another_and_share_lists():
    stop = Stop()
    ids = [f"{number:024x}" for number in range(1, 41)]
    api = ListingApi({each: [PROCESSING] for each in ids})
    clock = LoopClock(asyncio.get_running_loop())
    queue = queue_in_memory(clock)
    poller = Poller(
        queue,
        api,
        schedule=lambda _: 1000.0,
        policy=policy(batching=Batching(limit=15, ahead=1.5, gather=0.52)),
        clock=clock,
        uniform=lambda: 1.0,
    )
    running = asyncio.ensure_future(poller.run(stop))
    for asset_id in ids[:20]:
        await put(queue, [asset_id])
        await asyncio.sleep(0.1)
    assert api.retrieved == ids[:1], "the first one waits for nobody"
    assert [len(shared) for shared in api.lists] == [5, 5, 5]
    await asyncio.sleep(1)
    assert [len(shared) for shared in api.lists] == [5, 5, 5, 4]
    await put(queue, ids[20:])
    await asyncio.sleep(0.01)
    assert [len(shared) for shared in api.lists][4:] == [15, 5], "a full list is followed at once"
    stop.set("test")
    await running


async def test_the_lag_of_a_detection_is_that_of_the_event():
    """From the last look that showed the asset waiting; the first asset had no such look."""
    api = ListingApi({IDS[0]: [READY], IDS[1]: [PROCESSING, PROCESSING, READY]})
    events, poller, _ = await poll(api, ids=IDS[:2], schedule=SCHEDULE)
    waited = [event["data"] for event in events if event["data"]["last_seen_waiting_at"] is not None]
    [(end, last)] = [(seconds_of(each["completed_at"]), seconds_of(each["last_seen_waiting_at"])) for each in waited]
    assert end is not None
    assert last is not None
    [found] = poller.counts.detection_lags.read().values()
    assert (found.count, found.sum) == (1, pytest.approx(end - last, abs=0.002))
    assert end - last > 1


async def test_what_the_schedule_and_lists_do_is_shown():
    learner = AdaptiveSchedule(initial=2, multiplier=1.5, maximum=2, uniform=lambda: 0.5)
    learner.backlog_factor = 3.5
    clock = LoopClock(asyncio.get_running_loop())
    queue, api, lists = queue_in_memory(clock), ListingApi({}), policy(batching=Batching())
    with_lists = Poller(queue, api, schedule=learner, policy=lists, clock=clock, feedback=Feedback(learner))
    without = Poller(queue, api, schedule=learner, policy=policy(), clock=clock)
    assert (with_lists.lists_in_use, with_lists.backlog_factor) == (True, 3.5)
    assert (without.lists_in_use, without.backlog_factor) == (False, 1.0)
