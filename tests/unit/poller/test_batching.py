"""Looking at many assets with one list, and what retrieves confirm of it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import (
    HeldError,
    KeyRefusedError,
    ListRefusedError,
    MalformedAnswerError,
    RateLimitedError,
    TransientError,
)
from asset_worker.domain.assets import Expectations
from asset_worker.domain.submissions import Options
from asset_worker.poller.actions import Actions
from asset_worker.poller.batching import ListLooker
from asset_worker.poller.list_suspension import FAILURES_TO_DOUBT
from asset_worker.poller.loop import Poller
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from tests.doubles.api import PROCESSING, READY, ListingApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE
from tests.doubles.polling import events_in, outcomes, policy, poll, put, queue_in_memory

pytestmark = pytest.mark.virtual_time

HLS_IN_PROCESS = {"status": "ready", "hls": {"status": "processing"}}


def about_lists(logs):
    """The log's events about the suspension of lists."""
    return [log["event"] for log in logs if log["event"] in {"api.list_doubted", "api.list_trusted"}]


async def test_assets_due_together_share_a_list_and_only_those_done_are_retrieved():
    api = ListingApi({asset_id: [PROCESSING, PROCESSING, READY] for asset_id in IDS})
    events, poller, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert sorted(api.retrieved) == sorted(IDS)
    assert len(api.lists) < 9
    assert [event["data"]["polls"] for event in events] == [4, 4, 4]
    assert poller.looks == 12


@pytest.mark.parametrize(
    ("error", "looks"),
    [
        pytest.param(TransientError("503"), 2, id="503"),
        pytest.param(KeyRefusedError("403"), 0, id="a refused key, which is no look"),
    ],
)
async def test_the_asset_whose_retrieve_checks_a_list_that_failed_stays_leased_for_it_and_the_others_wait(error, looks):
    clock = LoopClock(asyncio.get_running_loop())
    queue, usual, refusals = queue_in_memory(clock), policy(batching=Batching()), PerAssetRefusals()
    actions = Actions(queue, schedule=SCHEDULE, policy=usual, clock=clock, feedback=None, refusals=refusals)
    lists = ListLooker(
        ListingApi({}, list_errors=[error]),
        actions,
        policy=usual,
        clock=clock,
        uniform=lambda: 1.0,
        feedback=None,
        refusals=refusals,
    )
    await put(queue, IDS)
    leases = await queue.take(3)
    [check] = [each async for each in lists.look_at(leases, Stop())]
    assert check.lease == leases[0]
    states = [queue.pending_state(lease.submission.asset_id) for lease in leases]
    assert [state.due_in is None for state in states] == [True, False, False]
    assert sum(actions.counts.looks.values()) == looks


async def test_an_asset_that_is_due_alone_is_retrieved():
    api = ListingApi({ID: [PROCESSING, READY]})
    await poll(api, batching=Batching())
    assert (api.lists, api.retrieved) == ([], [ID, ID])


async def test_an_asset_that_a_list_leaves_out_is_confirmed_before_it_is_acted_on():
    documents = {each: [READY] for each in IDS}
    api = ListingApi(documents, listed=lambda asset_id, document: None if asset_id == IDS[0] else document)
    events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")


async def test_an_asset_that_a_list_shows_but_not_readably_is_retrieved_and_lists_stay_trusted():
    class Odd(ListingApi):
        async def list_assets(self, asset_ids):
            return {**await super().list_assets(asset_ids), IDS[0]: None}

    api = Odd({IDS[0]: [PROCESSING] * 9 + [READY], IDS[1]: [PROCESSING] * 9 + [READY], IDS[2]: [PROCESSING]})
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS, batching=Batching(), uniform=lambda: 1.0, seconds=300.0)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "ready")
    assert about_lists(logs) == []
    assert api.lists


async def test_an_asset_that_is_not_there_is_not_found_by_a_retrieve():
    api = ListingApi({IDS[0]: [None], IDS[1]: [None]})
    events, _, _ = await poll(api, ids=IDS[:2], batching=Batching(), schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "not_found")
    # Once when the list first left it out, and once when the grace was over: not at each look.
    assert len(api.retrieved) == 4


async def test_an_asset_that_only_a_list_shows_done_is_still_waited_for():
    documents = {each: [PROCESSING] * 9 + [READY] for each in IDS}
    api = ListingApi(documents, listed=lambda _, document: READY if document else None)
    events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert all(event["data"]["asset"]["status"] == "ready" for event in events)


async def test_a_state_older_than_one_seen_before_is_not_believed():
    """It comes from a cache behind the list: renditions that had ended don't begin again."""
    fresh = {"status": "ready", "hls": {"status": "processing"}, "thumbnail": {"status": "ready"}}
    done = {"status": "ready", "hls": {"status": "ready"}, "thumbnail": {"status": "ready"}}
    documents = {each: [fresh, fresh, done] for each in IDS[:2]}
    api = ListingApi(documents, listed=lambda _, document: document and PROCESSING)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS[:2], batching=Batching(), uniform=lambda: 0.0)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "ready")
    assert not [log for log in logs if log["event"] == "asset.changed" and log["from"] == "ready"]


async def test_a_state_older_than_a_retrieve_showed_is_not_believed_though_nothing_is_audited():
    done = {"status": "ready", "hls": {"status": "ready"}}
    shown = itertools.chain([None, None], itertools.repeat(PROCESSING))
    api = ListingApi({each: [HLS_IN_PROCESS] * 3 + [done] for each in IDS[:2]}, listed=lambda *_: next(shown))
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS[:2], batching=Batching(), uniform=lambda: 1.0, seconds=300.0)
    assert outcomes(events) == dict.fromkeys(IDS[:2], "ready")
    assert sorted(api.retrieved[:4]) == sorted(IDS[:2] * 2), "each list was confirmed"
    assert {log["to"] for log in logs if log["event"] == "asset.changed" and log["what"] == "status"} == {"ready"}


async def test_lists_that_always_lag_are_found_by_audits():
    """They contradict nothing that was seen before, so nothing else would show it."""
    ids = [f"{number:024x}" for number in range(1, 9)]
    api = ListingApi({each: [READY] for each in ids}, listed=lambda *_: PROCESSING)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=ids, batching=Batching(), uniform=lambda: 0.0, seconds=300.0)
    assert outcomes(events) == dict.fromkeys(ids, "ready")
    assert about_lists(logs) == ["api.list_doubted"]


async def test_lists_that_run_ahead_are_found_by_audits():
    """They show assets ready that a retrieve shows in process, which they never were before."""
    ids = [f"{number:024x}" for number in range(1, 9)]
    api = ListingApi({each: [PROCESSING] * 100 + [READY] for each in ids}, listed=lambda *_: HLS_IN_PROCESS)
    with capture_logs() as logs:
        await poll(api, ids=ids, batching=Batching(), uniform=lambda: 0.0, seconds=300.0)
    assert about_lists(logs) == ["api.list_doubted"]


async def test_lists_that_take_states_back_contradict_earlier_looks_and_that_is_no_lag():
    ids = [f"{number:024x}" for number in range(1, 9)]
    shown = itertools.chain([None] * 8, itertools.repeat(PROCESSING))
    api = ListingApi({each: [HLS_IN_PROCESS] for each in ids}, listed=lambda *_: next(shown))
    with capture_logs() as logs:
        await poll(api, ids=ids, batching=Batching(), uniform=lambda: 1.0, seconds=300.0)
    assert about_lists(logs) == ["api.list_doubted"]
    assert [log["why"] for log in logs if log["event"] == "api.list_doubted"] == [
        "4 of 4 lists or hints that were checked were wrong"
    ]


async def test_a_list_with_assets_that_lists_have_yet_to_show_done_is_no_longer_than_others():
    ids = [f"{number:024x}" for number in range(200)]
    audited_at = {}

    class Noting(ListingApi):
        async def retrieve(self, asset_id):
            audited_at[asset_id] = len(self.lists)
            return await super().retrieve(asset_id)

    api = Noting({each: [READY] for each in ids}, listed=lambda *_: PROCESSING)
    await poll(api, ids=ids, batching=Batching(), uniform=lambda: 0.0, seconds=2.0)
    first = next(iter(audited_at))
    assert any(first in asked for asked in api.lists[audited_at[first] :])
    assert max(len(asked) for asked in api.lists) == 50


class Chances:
    """Feedback to a schedule that knows how likely each kind of asset is to have ended."""

    def __init__(self, chances):
        self.chances = chances

    def taken(self, *_, **__):
        pass

    def requested(self, looks):
        pass

    def looked(self, *_, **__):
        pass

    def chance_of_end(self, look, *, within):
        assert within == 30.0
        return self.chances[look.file_type]


async def test_the_waiting_asset_that_is_likeliest_to_have_ended_is_audited():
    chances = {"video/mp4": 0.1, "image/png": 0.9, "audio/mp3": 0.5}
    api = ListingApi({each: [PROCESSING | {"file_type": name}] for each, name in zip(IDS, chances, strict=True)})
    feedback = Chances(chances)
    await poll(api, ids=IDS, batching=Batching(), uniform=lambda: 0.0, feedback=feedback, seconds=1.0)
    assert api.retrieved == [IDS[1]]


async def test_an_asset_that_a_list_shows_done_is_not_audited_for_lag():
    burst = [f"{number:024x}" for number in range(20)]
    api = ListingApi({each: [READY] for each in burst})
    await poll(api, ids=burst, batching=Batching(), uniform=lambda: 0.0)
    assert len(api.retrieved) == 3


async def test_an_audit_confirms_one_asset_of_a_list():
    api = ListingApi({each: [PROCESSING] for each in IDS})
    _, poller, _ = await poll(api, ids=IDS, batching=Batching(), uniform=lambda: 0.0, seconds=1.0)
    assert (api.lists, api.retrieved) == ([IDS], IDS[:1])
    assert poller.looks == 4


@pytest.mark.parametrize(
    ("error", "lists"),
    [
        pytest.param(ListRefusedError("404"), 1, id="refused"),
        pytest.param(MalformedAnswerError("no list"), FAILURES_TO_DOUBT, id="malformed"),
        pytest.param(TransientError("500"), FAILURES_TO_DOUBT, id="failing"),
        pytest.param(KeyRefusedError("403 api_not_allowed"), FAILURES_TO_DOUBT, id="not for this key"),
    ],
)
async def test_without_lists_it_retrieves_and_logs_that_once(error, lists):
    api = ListingApi({each: [PROCESSING] * 40 + [READY] for each in IDS}, list_errors=itertools.repeat(error))
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS, batching=Batching(), seconds=50.0)
    assert events == []
    assert len(api.lists) in {lists, lists + 1}, "one more may have been planned"
    assert about_lists(logs) == ["api.list_doubted"]


@pytest.mark.parametrize(
    "error", [KeyRefusedError("401"), TransientError("503"), MalformedAnswerError("a portal's page")]
)
async def test_the_end_of_an_outage_or_of_a_refusal_says_nothing_about_lists(error):
    """Many lists are refused with the old key, say, and the retrieves after them are answered with the new one."""

    class Api(ListingApi):
        async def list_assets(self, asset_ids):
            asked_at = asyncio.get_running_loop().time()
            await asyncio.sleep(0.5)
            if asked_at < start + 1.0:
                self.lists.append(list(asset_ids))
                raise error
            return await super().list_assets(asset_ids)

    start = asyncio.get_running_loop().time()
    ids = [f"{number:024x}" for number in range(1, 101)]
    api = Api({each: [PROCESSING] * 5 + [READY] for each in ids})
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=ids, batching=Batching(limit=10), looks_at_once=40)
    assert outcomes(events) == dict.fromkeys(ids, "ready")
    assert about_lists(logs) == []
    assert len(api.lists) > 10


async def test_lists_that_leave_out_assets_are_suspended_and_tried_again_later():
    api = ListingApi({each: [PROCESSING] * 40 + [READY] for each in IDS}, listed=lambda *_: None)
    with capture_logs() as logs:
        events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert 3 <= len(api.lists) < 20
    assert about_lists(logs) == ["api.list_doubted"]


@pytest.mark.parametrize("error", [TransientError("503"), KeyRefusedError("401"), RateLimitedError("429", 5.0)])
async def test_a_list_that_fails_makes_no_outcome(error):
    api = ListingApi({each: [READY] for each in IDS}, list_errors=[error, error])
    events, _, _ = await poll(api, ids=IDS, batching=Batching(), schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert len(api.lists) >= 2


async def test_a_list_that_was_not_sent_in_an_outage_counts_as_no_look_and_is_not_replaced_by_a_retrieve():
    api = ListingApi({each: [READY] for each in IDS}, list_errors=[HeldError("the API is unavailable", 7.0)])
    start = asyncio.get_running_loop().time()
    events, _, _ = await poll(api, ids=IDS, batching=Batching())
    assert outcomes(events) == dict.fromkeys(IDS, "ready")
    assert [event["data"]["polls"] for event in events] == [2, 2, 2], "in the next list, and in the retrieve after it"
    assert 7.0 <= asyncio.get_running_loop().time() - start < 9.0


async def test_while_lists_alone_are_limited_assets_are_retrieved():
    class Limited(ListingApi):
        lists_are_limited = True

    limited = itertools.repeat(RateLimitedError("429", 3000.0))
    api = Limited({each: [PROCESSING, READY] for each in IDS}, list_errors=limited)
    events, _, _ = await poll(api, ids=IDS, batching=Batching(), seconds=60.0)
    assert outcomes(events) == dict.fromkeys(IDS, "ready")


async def test_an_id_of_an_unusual_form_is_in_no_list():
    """If the API does not take it for an ID, the list fails for the others too."""
    odd = "my-asset"
    api = ListingApi({odd: [PROCESSING, READY], **{each: [PROCESSING, READY] for each in IDS}})
    await poll(api, ids=[odd, *IDS], batching=Batching())
    assert odd not in api.lists[0]
    assert api.retrieved[0] == odd


async def test_a_list_ends_at_the_first_strict_deadline_of_its_assets():
    class Hanging(ListingApi):
        async def list_assets(self, asset_ids):
            await asyncio.sleep(3600)

    api, clock, stop = Hanging({each: [READY] for each in IDS}), LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    strict = policy(expectations=Expectations(unanswered_factor=1.0), batching=Batching(), last_look=0.0)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=strict, clock=clock)
    for asset_id, deadline in zip(IDS, [90.0, 5.0, 60.0], strict=True):
        await put(queue, [asset_id], Options(deadline=deadline))
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(5.1)
    assert outcomes(await events_in(queue)) == {IDS[1]: "timed_out"}
    stop.set("test")
    await running
