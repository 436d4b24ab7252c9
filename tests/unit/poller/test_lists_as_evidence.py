"""Settling assets from lists: what the poller confirms, holds and settles, with an API in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import NotFoundError, TransientError
from asset_worker.domain.assets import Expectations, asset_from
from asset_worker.domain.submissions import Options
from asset_worker.poller.confirmations import Confirmations
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from tests.doubles.api import PROCESSING, READY, ListingApi, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import SCHEDULE
from tests.doubles.polling import events_in, outcomes, policy, poll, put, queue_in_memory

pytestmark = pytest.mark.virtual_time

BATCHING = Batching()
SHAPES = ("image", "video", "audio", "application", "text")


def ids(count, start=1):
    return [f"{number:024x}" for number in range(start, start + count)]


class SlowApi(ListingApi):
    """Each request takes a while: `retrieving` seconds, and a fifth of a second for a list."""

    def __init__(self, documents, *, retrieving=0.2, **more):
        super().__init__(documents, **more)
        self.retrieving = retrieving

    async def retrieve(self, asset_id):
        await asyncio.sleep(self.retrieving)
        return await super().retrieve(asset_id)

    async def list_assets(self, asset_ids):
        await asyncio.sleep(0.2)
        return await super().list_assets(asset_ids)


def logged(logs, event):
    return [log for log in logs if log["event"] == event]


def names_of_lists(logs):
    return [log["event"] for log in logs if log["event"].startswith("api.list")]


@pytest.mark.parametrize(("kinds", "retrieves"), [(1, range(10, 16)), (5, range(15, 25))])
async def test_a_burst_of_finished_assets_takes_a_few_retrieves_of_each_shape(kinds, retrieves):
    burst = ids(400)
    types = {each: SHAPES[number % kinds] for number, each in enumerate(burst)}
    api = SlowApi({each: [{"status": "ready", "file_type": f"{types[each]}/x"}] for each in burst})
    begun = asyncio.get_running_loop().time()
    events, poller, queue = await poll(api, ids=burst, batching=BATCHING, looks_at_once=40, uniform=lambda: 0.5)
    assert queue.pending_count() == 0
    assert len(events) == 400
    assert len(api.lists) == 8
    assert len(api.retrieved) in retrieves
    assert asyncio.get_running_loop().time() - begun < 5
    assert poller.completions_from_lists == 400 - len(api.retrieved)
    assert (poller.proven_list_shapes, poller.list_disagreements) == (kinds, 0)


async def test_an_asset_that_is_settled_from_a_list_has_one_look_and_the_document_of_the_list():
    burst = ids(20)
    api = SlowApi({each: [READY | {"note": f"of {each}"}] for each in burst})
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=burst, batching=BATCHING)
    assert outcomes(events) == dict.fromkeys(burst, "ready")
    polls = [event["data"]["polls"] for event in events]
    assert sorted(polls) == [1] * 17 + [2] * 3
    assert {event["subject"]: event["data"]["asset"]["note"] for event in events} == {
        each: f"of {each}" for each in burst
    }
    assert [log["confirmations"] for log in logged(logs, "api.list_proven")] == [3]


async def test_with_confirm_each_asset_is_retrieved_before_it_is_settled():
    burst = ids(100)
    api = SlowApi({each: [READY] for each in burst})
    with capture_logs() as logs:
        events, poller, _ = await poll(api, ids=burst, batching=Batching(confirm_all=True))
    assert outcomes(events) == dict.fromkeys(burst, "ready")
    assert sorted(api.retrieved) == burst
    assert poller.completions_from_lists == 0
    assert names_of_lists(logs) == []


async def test_with_confirm_disagreements_are_counted():
    burst = ids(100)
    api = SlowApi({each: [READY | {"size": 7}] for each in burst}, listed=lambda *_: READY)
    with capture_logs() as logs:
        _, poller, _ = await poll(api, ids=burst, batching=Batching(confirm_all=True))
    assert poller.list_disagreements == 100
    assert names_of_lists(logs) == []


async def test_lists_that_lack_a_key_settle_nothing():
    burst = ids(120)
    full = READY | {"size": 7}
    api = SlowApi({each: [full] for each in burst}, listed=lambda *_: READY)
    with capture_logs() as logs:
        events, poller, _ = await poll(api, ids=burst, batching=BATCHING)
    assert all(event["data"]["asset"]["size"] == 7 for event in events)
    assert {event["data"]["polls"] for event in events} == {2}, "the list and the retrieve, held or not"
    assert sorted(api.retrieved) == burst
    assert (poller.completions_from_lists, poller.list_disagreements) == (0, 120)
    assert set(names_of_lists(logs)) == {"api.list_disagreed"}
    assert [log["needed"] for log in logged(logs, "api.list_disagreed")] == [6, 12], "many at once count once"
    assert logged(logs, "api.list_disagreed")[0]["why"] == "the list lacked size"


async def test_lists_that_begin_to_lie_settle_at_most_fifty_assets_and_name_them():
    good, bad = ids(60), ids(300, start=1001)
    documents = {each: [READY] for each in good} | {each: [PROCESSING] * 2000 + [READY] for each in bad}
    lying = ListingApi(documents, listed=lambda *_: READY)
    with capture_logs() as logs:
        clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
        queue = queue_in_memory(clock)
        poller = Poller(queue, lying, schedule=SCHEDULE, policy=policy(batching=BATCHING), clock=clock)
        running = asyncio.ensure_future(poller.run(stop))
        await put(queue, good)
        await queue.idle()
        await put(queue, bad)
        await asyncio.sleep(60)
        stop.set("test")
        await running
    wrong = {event["subject"] for event in await events_in(queue)} - set(good)
    (contradicted,) = logged(logs, "api.list_contradicted")
    assert contradicted["log_level"] == "error"
    assert 0 < len(wrong) <= 50
    assert wrong <= set(contradicted["asset_ids"])
    assert contradicted["asset_id"] in bad
    assert contradicted["why"] == "the list showed ready, and the retrieve processing"
    assert contradicted["needed"] == 6


@pytest.mark.parametrize("error", [TransientError("503"), NotFoundError("404")], ids=["503", "404"])
async def test_confirmations_that_show_nothing_hold_nobody_up(error):
    class Api(SlowApi):
        failures = 3

        async def retrieve(self, asset_id):
            self.failures -= 1
            if self.failures >= 0:
                await asyncio.sleep(1.0)
                raise error
            return await super().retrieve(asset_id)

    burst = ids(50)
    api = Api({each: [READY] for each in burst})
    begun = asyncio.get_running_loop().time()
    events, _, _ = await poll(api, ids=burst, batching=BATCHING, looks_at_once=40, schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys(burst, "ready")
    assert asyncio.get_running_loop().time() - begun < 10


async def test_a_confirmation_that_fails_is_replaced_at_once():
    class Api(SlowApi):
        failures = 3

        async def retrieve(self, asset_id):
            self.failures -= 1
            if self.failures >= 0:
                raise TransientError("503")
            return await super().retrieve(asset_id)

    burst = ids(50)
    api = Api({each: [READY] for each in burst})
    begun = asyncio.get_running_loop().time()
    events, _, _ = await poll(api, ids=burst, batching=BATCHING, looks_at_once=40, schedule=SCHEDULE, seconds=0.9)
    assert asyncio.get_running_loop().time() - begun < 1.5, "after the stop, nobody is held"
    assert len(events) >= 47


class HangingApi(SlowApi):
    """Retrieves of the first three assets are never answered."""

    async def retrieve(self, asset_id):
        if int(asset_id, 16) <= 3:
            await asyncio.sleep(10**6)
        return await super().retrieve(asset_id)


async def test_confirmations_that_hang_hold_nobody_up():
    burst = ids(100)
    api = HangingApi({each: [READY] for each in burst})
    events, _, _ = await poll(api, ids=burst, batching=BATCHING, looks_at_once=40, seconds=4.0)
    assert outcomes(events) == dict.fromkeys(burst[3:], "ready")
    assert len(api.retrieved) < 10


async def test_a_held_asset_is_retrieved_for_itself_at_its_deadline():
    api = HangingApi({each: [READY] for each in ids(4)})
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=BATCHING, looks_at_once=9), clock=clock)
    await put(queue, ids(3))
    await put(queue, ids(1, start=4), Options(deadline=0.5))
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(1.5)
    assert outcomes(await events_in(queue)) == {ids(1, start=4)[0]: "ready"}
    running.cancel()


async def test_assets_that_are_held_when_the_worker_stops_are_settled_if_the_confirmations_agree():
    burst = ids(50)
    api = SlowApi({each: [READY] for each in burst}, retrieving=1.5)
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=BATCHING), clock=clock)
    await put(queue, burst)
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(1.0)
    stop.set("test")
    await asyncio.wait_for(running, 3.0)
    assert len(await events_in(queue)) == 50, "the confirmations ended, and agreed"


async def test_an_asset_that_a_list_shows_as_another_one_is_retrieved_although_the_shape_is_proven():
    good, mixed_up = ids(10), ids(2, start=101)
    mine = {"filename": "a.mp4"}
    documents = {each: [READY | mine] for each in good} | {each: [PROCESSING | mine, READY | mine] for each in mixed_up}

    def listed(asset_id, document):
        return document | {"filename": "b.mp4"} if asset_id in mixed_up and document["status"] == "ready" else document

    api = ListingApi(documents, listed=listed)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=good + mixed_up, batching=BATCHING)
    assert outcomes(events) == dict.fromkeys(good + mixed_up, "ready")
    assert all(event["data"]["asset"]["filename"] == "a.mp4" for event in events)
    assert {*mixed_up} <= {*api.retrieved}
    (contradicted,) = logged(logs, "api.list_contradicted")
    assert contradicted["why"] == "the list showed the document of another asset"
    assert contradicted["asset_id"] in mixed_up


async def test_outcomes_that_a_deadline_makes_come_from_a_retrieve():
    slow = ids(60)
    late = {"status": "ready", "hls": {"status": "processing"}}
    documents = {each: [PROCESSING if number % 2 else late] for number, each in enumerate(slow)}
    api = ListingApi(documents)
    expectations = Expectations(deadline=200.0, rendition_deadline=100.0)
    events, poller, _ = await poll(api, ids=slow, batching=BATCHING, expectations=expectations)
    assert set(outcomes(events).values()) == {"timed_out", "degraded"}
    assert set(api.retrieved) >= set(slow)
    assert poller.completions_from_lists == 0


async def test_a_late_rendition_is_counted_from_what_a_retrieve_showed():
    """The lists show `ready` long before the assets are, and then the renditions are on time."""
    early = ids(4)
    begun = asyncio.get_running_loop().time()

    def age():
        return asyncio.get_running_loop().time() - begun

    class Early(ListingApi):
        async def retrieve(self, asset_id):
            self.retrieved.append(asset_id)
            state = {"hls": {"status": "ready" if age() > 140 else "processing"}}
            return asset_from({"_id": asset_id, "status": "ready" if age() > 80 else "processing", **state})

        async def list_assets(self, asset_ids):
            shown = {"status": "ready", "hls": {"status": "processing"}}
            return {each: asset_from({"_id": each, **shown}) for each in asset_ids}

    expectations = Expectations(rendition_deadline=100.0)
    api = Early({})
    events, _, _ = await poll(api, ids=early, batching=BATCHING, expectations=expectations, looks_at_once=1)
    assert outcomes(events) == dict.fromkeys(early, "ready")


async def test_lists_that_are_far_behind_are_suspended():
    """Every look at a list agrees with the list before it, and every confirmation agrees."""
    films = ids(200)
    begun = asyncio.get_running_loop().time()

    class Late(ListingApi):
        def at(self, asset_id, when):
            ends = 10 + 0.5 * int(asset_id, 16)
            return asset_from({"_id": asset_id, **(READY if when - begun >= ends else PROCESSING)})

        async def retrieve(self, asset_id):
            await asyncio.sleep(0.1)
            self.retrieved.append(asset_id)
            return self.at(asset_id, asyncio.get_running_loop().time())

        async def list_assets(self, asset_ids):
            self.lists.append(list(asset_ids))
            assert len(set(asset_ids)) == len(asset_ids) <= 50
            return {each: self.at(each, asyncio.get_running_loop().time() - 30.0) for each in asset_ids}

    api = Late({})
    numbers = iter([0.3, 0.0, 0.9, 0.6] * 10**6)
    with capture_logs() as logs:
        events, poller, _ = await poll(api, ids=films, batching=BATCHING, uniform=lambda: next(numbers))
    assert outcomes(events) == dict.fromkeys(films, "ready")
    assert names_of_lists(logs)[:2] in (["api.list_doubted"], ["api.list_proven", "api.list_doubted"])
    (doubted,) = logged(logs, "api.list_doubted")
    assert "s or more behind" in doubted["why"]
    assert poller.list_disagreements == 0


async def test_while_many_assets_are_held_no_list_is_requested():
    burst = ids(5000)
    api = HangingApi({each: [READY] for each in burst}, retrieving=100.0)
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=BATCHING, looks_at_once=40), clock=clock)
    await put(queue, burst)
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(20.0)
    assert 5 <= len(api.lists) <= 40
    running.cancel()


async def test_thousands_of_finished_assets_are_settled_as_fast_as_their_audits_allow():
    burst = ids(4_000)
    api = SlowApi({each: [READY] for each in burst})
    begun = asyncio.get_running_loop().time()
    _, poller, queue = await poll(api, ids=burst, batching=BATCHING, looks_at_once=40, uniform=lambda: 0.5)
    assert queue.pending_count() == 0
    assert asyncio.get_running_loop().time() - begun < 24
    assert len(api.retrieved) < 120
    assert poller.completions_from_lists > 3880


async def test_a_held_asset_leaves_time_for_its_retrieve_before_its_deadline():
    api = HangingApi({each: [READY] for each in ids(4)}, retrieving=1.2)
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    patience = policy(batching=BATCHING, looks_at_once=9, expectations=Expectations(unanswered_factor=1.0))
    poller = Poller(queue, api, schedule=SCHEDULE, policy=patience, clock=clock)
    await put(queue, ids(3))
    await put(queue, ids(1, start=4), Options(deadline=2.9))
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(5.0)
    assert outcomes(await events_in(queue)) == {ids(1, start=4)[0]: "ready"}
    running.cancel()


async def test_an_asset_that_was_held_for_too_long_counts_as_a_confirmation():
    api = HangingApi({each: [READY | {"size": 7}] for each in ids(4)}, listed=lambda *_: READY)
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=BATCHING, looks_at_once=9), clock=clock)
    await put(queue, ids(3))
    await put(queue, ids(1, start=4), Options(deadline=1.0))
    running = asyncio.ensure_future(poller.run(stop))
    with capture_logs() as logs:
        await asyncio.sleep(1.5)
    assert [log["needed"] for log in logged(logs, "api.list_disagreed")] == [6]
    running.cancel()


async def test_an_asset_that_is_no_longer_held_when_its_shape_is_proven_is_not_settled_twice():
    class Api(SlowApi):
        async def retrieve(self, asset_id):
            await asyncio.sleep(1.8 if int(asset_id, 16) <= 3 else 5.0)
            return await super().retrieve(asset_id)

    api = Api({each: [READY] for each in ids(5)})
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=BATCHING, looks_at_once=9), clock=clock)
    await put(queue, ids(3))
    await put(queue, ids(1, start=4), Options(deadline=2.0))
    await put(queue, ids(1, start=5))
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(20.0)
    assert sorted(event["subject"] for event in await events_in(queue)) == ids(5)
    assert poller.completions_from_lists == 1
    stop.set("test")
    await running


async def test_nobody_is_held_for_more_than_half_a_minute():
    class Api(ListingApi):
        async def retrieve(self, asset_id):
            self.retrieved.append(asset_id)
            await asyncio.sleep(10**6)

    burst = ids(100)
    api = Api({each: [READY] for each in burst})
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=BATCHING, looks_at_once=200), clock=clock)
    await put(queue, burst)
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(29.0)
    assert len(api.retrieved) < 60
    await asyncio.sleep(2.0)
    assert sorted(api.retrieved) == burst
    running.cancel()


async def test_a_request_waits_a_second_at_most_until_fewer_assets_are_held():
    loop = asyncio.get_running_loop()
    confirmations = Confirmations(ScriptedApi(READY), confirm_all=False, clock=LoopClock(loop), uniform=lambda: 0.5)
    for each in ids(203):
        confirmations.treat(each, asset_from({"_id": each, **READY}), is_doubtful=False)
    begun = loop.time()
    await confirmations.wait_for_room()
    assert (loop.time() - begun, confirmations.may_list) == (0.0, True), "three are confirmed, and 200 are held"
    confirmations.treat(ids(1, 300)[0], asset_from({"_id": ids(1, 300)[0], **READY}), is_doubtful=False)
    await confirmations.wait_for_room()
    assert (loop.time() - begun, confirmations.may_list) == (1.0, False)


async def test_confirmations_that_queue_for_a_request_do_not_make_more_of_them():
    """With many shapes, or few requests a minute, most of the time goes into waiting for a request."""

    class Queueing(SlowApi):
        has_capacity = False

    burst = ids(100)
    api = Queueing({each: [READY] for each in burst}, retrieving=10.0)
    events, _, _ = await poll(api, ids=burst, batching=BATCHING, looks_at_once=40)
    assert outcomes(events) == dict.fromkeys(burst, "ready")
    assert len(api.retrieved) < 3 + 5
