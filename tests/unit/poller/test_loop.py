"""The loop around one look."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import (
    BadIdError,
    KeyRefusedError,
    ListRefusedError,
    MalformedAnswerError,
    NotFoundError,
    RateLimitedError,
    TransientError,
)
from asset_worker.domain.assets import Expectations, asset_from
from asset_worker.domain.submissions import Submission
from asset_worker.poller.loop import KEY_REFUSED_DELAY_SECONDS, Batching, Poller
from asset_worker.queue.memory import MemoryQueue
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.redaction import Secrets
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.waits import exponential, from_tenacity
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.looks import ID, IDS, SCHEDULE

pytestmark = pytest.mark.virtual_time


class ScriptedApi:
    latest_failure = None

    """Answers each look with the next thing of a script; the last one stays."""

    def __init__(self, *script):
        self.script = list(script)
        self.asked = 0

    async def wait_for_capacity(self):
        pass

    async def retrieve(self, asset_id):
        self.asked += 1
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, BaseException):
            raise step
        return asset_from({"_id": asset_id, **step})


async def poll(api, *, ids=(ID,), expectations=None, strict=False, seconds=3600.0, schedule=None, **options):
    """Run a poller over a queue in memory until all is settled."""
    clock = LoopClock(asyncio.get_running_loop())
    queue = MemoryQueue(clock, sinks=("stdout",), dedupe_window=60, max_pending=100)
    poller = Poller(
        queue,
        api,
        schedule=schedule
        or from_tenacity(exponential(initial=2, multiplier=1.5, maximum=30, uniform=random.Random(1).random)),
        expectations=expectations or Expectations(),
        clock=clock,
        source="s",
        redact=Secrets().redact,
        looks_at_once=4,
        strict_deadlines=strict,
        **{"uniform": lambda: 1.0} | options,
    )
    submissions = [Submission(asset_id, "stdin", 1) for asset_id in ids]
    await queue.put(submissions, events=[], intake="i", position=None)
    stop = Stop()
    running = asyncio.ensure_future(poller.run(stop))
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await queue.idle()
    stop.set("test")
    await running
    events = [msgspec.json.decode(stored.body) for stored in await queue.outbox.read("stdout", 100)]
    return events, poller, queue


PROCESSING = {"status": "processing"}
READY = {"status": "ready"}


async def test_an_asset_is_looked_at_until_it_is_done():
    api = ScriptedApi(PROCESSING, PROCESSING, READY)
    [event], poller, _ = await poll(api)
    assert event["data"]["outcome"] == "ready"
    assert event["data"]["polls"] == api.asked == poller.looks == 3


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(TransientError("503"), id="transient"),
        pytest.param(RateLimitedError("429", 5.0), id="rate limited"),
        pytest.param(KeyRefusedError("401"), id="key refused"),
        pytest.param(NotFoundError("404"), id="not visible yet"),
    ],
)
async def test_trouble_makes_no_outcome(problem):
    [event], _, _ = await poll(ScriptedApi(problem, problem, PROCESSING, problem, READY))
    assert event["data"]["outcome"] == "ready"


async def test_a_refused_key_counts_as_no_look():
    [event], _, _ = await poll(ScriptedApi(KeyRefusedError("401"), READY))
    assert event["data"]["polls"] == 1
    assert KEY_REFUSED_DELAY_SECONDS > 0


async def test_an_asset_that_alone_is_refused_waits_as_others_do_and_ends():
    """Another account's, say: no key would work for it, and asked for each second it would hold up all others."""
    refused = []

    class Api(Shelf):
        async def retrieve(self, asset_id):
            if asset_id == ID:
                refused.append(asset_id)
                raise KeyRefusedError("403 region_not_allowed")
            return await super().retrieve(asset_id)

    api = Api({each: [PROCESSING] * 100 + [READY] for each in IDS})
    expectations = Expectations(deadline=600)
    events, _, _ = await poll(api, ids=(ID, *IDS), expectations=expectations, schedule=SCHEDULE, seconds=5000.0)
    assert outcomes(events) == {ID: "timed_out"} | dict.fromkeys(IDS, "timed_out")
    assert "403 region_not_allowed" in next(each["data"]["reason"] for each in events if each["subject"] == ID)
    assert len(refused) < 60


async def test_a_missing_asset_is_not_found_after_the_grace():
    [event], _, _ = await poll(ScriptedApi(NotFoundError("404")))
    assert event["data"]["outcome"] == "not_found"
    assert event["data"]["asset"] is None


async def test_an_id_that_the_api_refuses_is_asked_for_once():
    api = ScriptedApi(BadIdError("400 parameter_invalid"))
    [event], _, _ = await poll(api)
    assert (event["data"]["outcome"], api.asked) == ("not_found", 1)


async def test_an_outage_over_the_deadline_is_settled_by_the_next_answer():
    outage = [TransientError("503")] * 40
    [event], _, _ = await poll(ScriptedApi(PROCESSING, *outage, READY), expectations=Expectations(deadline=600))
    assert event["data"]["outcome"] == "ready"


async def test_no_answer_at_all_ends_after_two_deadlines():
    expectations = Expectations(deadline=600)
    [event], _, _ = await poll(ScriptedApi(TransientError("503")), expectations=expectations)
    assert event["data"]["outcome"] == "timed_out"
    assert "503" in event["data"]["reason"]


@pytest.mark.virtual_time
async def test_a_strict_deadline_ends_a_look_that_hangs():
    class Hanging(ScriptedApi):
        async def retrieve(self, asset_id):
            await asyncio.sleep(3600)

        async def list_assets(self, asset_ids):
            await asyncio.sleep(3600)

    loop = asyncio.get_running_loop()
    for ids in ([ID], IDS):
        start = loop.time()
        async with asyncio.timeout(3600):
            events = await _poll_by_the_loops_clock(Hanging(), Expectations(deadline=5.0, unanswered_factor=1.0), ids)
        assert [event["data"]["outcome"] for event in events] == ["timed_out"] * len(ids)
        assert loop.time() - start == pytest.approx(5.0)


async def _poll_by_the_loops_clock(api, expectations, ids):
    clock = SystemClock()
    queue = MemoryQueue(clock, sinks=("stdout",), dedupe_window=60, max_pending=9)
    poller = Poller(
        queue,
        api,
        schedule=SCHEDULE,
        expectations=expectations,
        clock=clock,
        source="s",
        redact=Secrets().redact,
        looks_at_once=2,
        batching=Batching(),
        strict_deadlines=True,
    )
    await queue.put([Submission(each, "stdin", 1) for each in ids], events=[], intake="i", position=None)
    stop = Stop()
    running = asyncio.ensure_future(poller.run(stop))
    await queue.idle()
    stop.set("test")
    await running
    return [msgspec.json.decode(stored.body) for stored in await queue.outbox.read("stdout", 9)]


class Shelf:
    """An API with lists: assets by ID, each with the statuses that it goes through, look by look."""

    latest_failure = None

    def __init__(self, ways, *, listed=None, list_errors=()):
        self.ways = {asset_id: list(way) for asset_id, way in ways.items()}
        self.listed = listed or (lambda asset_id, told: told)
        self.list_errors = iter(list_errors)
        self.retrieved = []
        self.lists = []

    async def wait_for_capacity(self):
        pass

    def _now(self, asset_id):
        way = self.ways[asset_id]
        return way.pop(0) if len(way) > 1 else way[0]

    async def retrieve(self, asset_id):
        self.retrieved.append(asset_id)
        told = self._now(asset_id)
        if told is None:
            raise NotFoundError("404")
        return asset_from({"_id": asset_id, **told})

    async def list_assets(self, asset_ids):
        self.lists.append(list(asset_ids))
        if error := next(self.list_errors, None):
            raise error
        told = {asset_id: self.listed(asset_id, self._now(asset_id)) for asset_id in asset_ids}
        return {asset_id: asset_from({"_id": asset_id, **each}) for asset_id, each in told.items() if each}


def outcomes(events):
    return {event["subject"]: event["data"]["outcome"] for event in events}


async def test_assets_due_together_share_a_list_and_only_what_is_done_is_retrieved():
    api = Shelf({asset_id: [PROCESSING, PROCESSING, READY] for asset_id in IDS})
    events, poller, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert sorted(api.retrieved) == sorted(IDS)
    assert len(api.lists) < 9
    assert [event["data"]["polls"] for event in events] == [4, 4, 4]
    assert poller.looks == 12


async def test_one_that_is_due_alone_is_retrieved():
    api = Shelf({ID: [PROCESSING, READY]})
    await poll(api, batching=Batching())
    assert (api.lists, api.retrieved) == ([], [ID, ID])


async def test_an_asset_that_a_list_leaves_out_is_confirmed_before_anything_is_made_of_it():
    api = Shelf({each: [READY] for each in IDS}, listed=lambda asset_id, told: None if asset_id == IDS[0] else told)
    events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")


async def test_an_asset_that_is_not_there_is_not_found_by_a_retrieve():
    api = Shelf({IDS[0]: [None], IDS[1]: [None]})
    events, _, _ = await poll(api, ids=IDS[:2], batching=Batching(), schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "not_found")
    # Once when the list first left it out, and once when the grace was over: not at each look.
    assert len(api.retrieved) == 4


async def test_what_a_list_shows_done_and_a_retrieve_does_not_goes_on_waiting():
    api = Shelf({each: [PROCESSING] * 9 + [READY] for each in IDS}, listed=lambda _, told: READY if told else None)
    events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert all(event["data"]["asset"]["status"] == "ready" for event in events)


async def test_a_state_older_than_one_seen_before_is_not_believed():
    """A cache behind the list: renditions that had ended don't begin again."""
    fresh = {"status": "ready", "hls": {"status": "processing"}, "thumbnail": {"status": "ready"}}
    done = {"status": "ready", "hls": {"status": "ready"}, "thumbnail": {"status": "ready"}}
    api = Shelf({each: [fresh, fresh, done] for each in IDS[:2]}, listed=lambda _, told: told and PROCESSING)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS[:2], batching=Batching(), uniform=lambda: 0.0)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "ready")
    assert not [log for log in logs if log["event"] == "asset.changed" and log["from"] == "ready"]


async def test_nor_is_one_older_than_a_retrieve_has_shown_where_nothing_is_audited():
    fresh = {"status": "ready", "hls": {"status": "processing"}}
    done = {"status": "ready", "hls": {"status": "ready"}}
    shown = itertools.chain([None, None], itertools.repeat(PROCESSING))
    api = Shelf({each: [fresh, fresh, fresh, done] for each in IDS[:2]}, listed=lambda *_: next(shown))
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS[:2], batching=Batching(), uniform=lambda: 1.0, seconds=300.0)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "ready")
    assert sorted(api.retrieved[:4]) == sorted(IDS[:2] * 2), "each list was confirmed"
    assert {log["to"] for log in logs if log["event"] == "asset.changed" and log["what"] == "status"} == {"ready"}


async def test_lists_that_are_always_late_are_found_out_by_an_audit():
    """They contradict nothing that was seen before, so nothing else would ask."""
    ids = [f"{number:024x}" for number in range(1, 9)]
    api = Shelf({each: [READY] for each in ids}, listed=lambda *_: PROCESSING)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=ids, batching=Batching(), uniform=lambda: 0.0, seconds=300.0)
    assert outcomes(events) == dict.fromkeys(ids, "ready")
    assert [log["event"] for log in logs if log["event"].startswith("api.list")] == ["api.list_doubted"]


@pytest.mark.parametrize(
    "error",
    [ListRefusedError("404"), MalformedAnswerError("no list"), KeyRefusedError("403 api_not_allowed")],
    ids=["refused", "malformed", "not for this key"],
)
async def test_where_there_are_no_lists_it_retrieves_and_says_so_once(error):
    api = Shelf({each: [PROCESSING] * 6 + [READY] for each in IDS}, list_errors=itertools.repeat(error))
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert len(api.lists) == 1 + (len(api.lists) > 1)
    assert [log["event"] for log in logs if log["event"].startswith("api.list")] == ["api.list_doubted"]


async def test_lists_that_leave_out_what_is_there_are_given_up_and_tried_again_later():
    api = Shelf({each: [PROCESSING] * 40 + [READY] for each in IDS}, listed=lambda *_: None)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert 3 <= len(api.lists) < 20
    assert [log["event"] for log in logs if log["event"].startswith("api.list")] == ["api.list_doubted"]


@pytest.mark.parametrize("error", [TransientError("503"), KeyRefusedError("401"), RateLimitedError("429", 5.0)])
async def test_trouble_with_a_list_makes_no_outcome(error):
    api = Shelf({each: [READY] for each in IDS}, list_errors=[error, error])
    events, _, _ = await poll(api, ids=IDS, batching=Batching(), schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert len(api.lists) >= 2


async def test_lists_that_fail_while_retrieves_work_are_given_up():
    api = Shelf(
        {each: [PROCESSING] * 30 + [READY] for each in IDS}, list_errors=itertools.repeat(TransientError("500"))
    )
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS, batching=Batching(), schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert [log["event"] for log in logs if log["event"].startswith("api.list")] == ["api.list_doubted"]


async def test_an_id_of_another_form_spoils_no_list():
    odd = "my-asset"
    api = Shelf({odd: [PROCESSING, READY], **{each: [PROCESSING, READY] for each in IDS}})
    await poll(api, ids=[odd, *IDS], batching=Batching())
    assert odd not in api.lists[0]
    assert api.retrieved[0] == odd


async def test_the_schedule_is_taught_what_looks_showed():
    class Notes:
        def __init__(self):
            self.seen = []

        def observe(self, look, *, since, ended=()):
            self.seen.append((look.phase, round(since, 3), round(look.age, 3), look.waiting_on, ended))

        def looked_late(self, lateness, *, since):
            assert lateness <= 0.001

        def idled(self, seconds):
            assert seconds >= 0

    notes = Notes()
    hls = {"status": "ready", "hls": {"status": "processing"}}
    api = Shelf({ID: [PROCESSING, PROCESSING, hls, hls, {"status": "ready", "hls": {"status": "ready"}}]})
    await poll(api, learner=notes, schedule=SCHEDULE)
    assert notes.seen == [
        ("asset", 0, 0, ("asset",), ()),
        ("asset", 0, 2, ("asset",), ()),
        ("asset", 2, 5, (), ("asset",)),
        ("renditions", 0, 2, ("hls",), ()),
        ("renditions", 2, 5, (), ("hls",)),
    ]


async def test_looks_in_flight_stay_within_their_slots():
    """Though none of the IDs may share a list."""
    under_way, most = 0, 0

    class Counting(Shelf):
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


@pytest.mark.parametrize("ids", [[ID], IDS], ids=["alone", "in a list"])
async def test_a_look_cut_short_by_the_stop_is_none(ids):
    """Nothing follows from it: the next start finds the asset as it was."""
    stop, deferred = Stop(), []

    class Stopping(ScriptedApi):
        async def retrieve(self, asset_id):
            stop.set("test")
            return await super().retrieve(asset_id)

        async def list_assets(self, asset_ids):
            return [await self.retrieve(each) for each in asset_ids]

    class Noting(MemoryQueue):
        async def defer(self, lease, delay, progress):
            deferred.append(lease.submission.asset_id)

    clock = ManualClock()
    queue = Noting(clock, sinks=("-",), dedupe_window=60, max_pending=9)
    api = Stopping(TransientError("cut short"))
    poller = Poller(
        queue,
        api,
        schedule=SCHEDULE,
        expectations=Expectations(),
        clock=clock,
        source="s",
        redact=Secrets().redact,
        looks_at_once=2,
        batching=Batching(),
    )
    await queue.put([Submission(each, "stdin", 1) for each in ids], events=[], intake="i", position=None)
    await asyncio.wait_for(poller.run(stop), 10)
    assert api.asked
    assert (deferred, poller.looks, queue.pending_count()) == ([], 0, len(ids))


@pytest.mark.virtual_time
async def test_new_assets_that_come_one_by_one_wait_for_one_another_and_share_lists():
    clock, stop = SystemClock(), Stop()
    ids = [f"{number:024x}" for number in range(1, 41)]
    api = Shelf({each: [PROCESSING] for each in ids})
    queue = MemoryQueue(clock, sinks=("-",), dedupe_window=60, max_pending=99)
    poller = Poller(
        queue,
        api,
        schedule=lambda _: 1000.0,
        expectations=Expectations(),
        clock=clock,
        source="s",
        redact=Secrets().redact,
        looks_at_once=4,
        batching=Batching(limit=15, ahead=1.5, gather=0.52),
        uniform=lambda: 1.0,
    )
    running = asyncio.ensure_future(poller.run(stop))
    for asset_id in ids[:20]:
        await queue.put([Submission(asset_id, "stdin", 1)], events=[], intake="i", position=None)
        await asyncio.sleep(0.1)
    assert api.retrieved == ids[:1], "the first one waits for nobody"
    assert [len(shared) for shared in api.lists] == [5, 5, 5]
    await asyncio.sleep(1)
    assert [len(shared) for shared in api.lists] == [5, 5, 5, 4]
    await queue.put([Submission(each, "stdin", 1) for each in ids[20:]], events=[], intake="i", position=None)
    await asyncio.sleep(0.01)
    assert [len(shared) for shared in api.lists][4:] == [15, 5], "a full list is followed at once"
    stop.set("test")
    await running
