"""Looking at one asset by a retrieve."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import BadIdError, KeyRefusedError, NotFoundError, RateLimitedError, TransientError
from asset_worker.domain.assets import Expectations
from asset_worker.poller.actions import KEY_REFUSED_DELAY_SECONDS
from asset_worker.poller.policy import Batching
from tests.doubles.api import PROCESSING, READY, ListingApi, ScriptedApi
from tests.doubles.looks import ID, IDS, SCHEDULE
from tests.doubles.polling import outcomes, poll

pytestmark = pytest.mark.virtual_time


async def test_an_asset_is_looked_at_until_it_is_done():
    api = ScriptedApi(PROCESSING, PROCESSING, READY)
    [event], poller, _ = await poll(api)
    assert event["data"]["outcome"] == "ready"
    assert event["data"]["polls"] == api.asked == poller.looks == 3


async def test_completions_are_counted_by_outcome_and_logged():
    failed = {"status": "failed", "error": {"message": "unsupported codec"}}
    api = ListingApi({IDS[0]: [READY], IDS[1]: [PROCESSING, READY], IDS[2]: [failed]})
    with capture_logs() as logs:
        _, poller, _ = await poll(api, ids=IDS)
    assert dict(poller.completions) == {"ready": 2, "failed": 1}
    [log] = [log for log in logs if log["event"] == "asset.completed" and log["outcome"] == "failed"]
    assert (log["asset_id"], log["reason"], log["polls"]) == (IDS[2], "unsupported codec", 1)


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(TransientError("503"), id="transient"),
        pytest.param(RateLimitedError("429", 5.0), id="rate limited"),
        pytest.param(KeyRefusedError("401"), id="key refused"),
        pytest.param(NotFoundError("404"), id="not visible yet"),
    ],
)
async def test_a_failed_request_makes_no_outcome(problem):
    [event], _, _ = await poll(ScriptedApi(problem, problem, PROCESSING, problem, READY))
    assert event["data"]["outcome"] == "ready"


async def test_a_refused_key_counts_as_no_look():
    [event], poller, _ = await poll(ScriptedApi(KeyRefusedError("401"), READY))
    assert event["data"]["polls"] == poller.looks == 1
    assert KEY_REFUSED_DELAY_SECONDS > 0


async def test_an_asset_that_alone_is_refused_waits_as_others_do_and_ends():
    """It is another account's, say: no key would work, and asking every second would hold up all others."""
    refused = []

    class Api(ListingApi):
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


@pytest.mark.parametrize("ids", [[ID], IDS], ids=["a retrieve", "a list"])
async def test_a_strict_deadline_ends_a_request_that_hangs(ids):
    class Hanging(ScriptedApi):
        async def retrieve(self, asset_id):
            await asyncio.sleep(3600)

        async def list_assets(self, asset_ids):
            await asyncio.sleep(3600)

    expectations = Expectations(deadline=5.0, unanswered_factor=1.0)
    start = asyncio.get_running_loop().time()
    events, _, _ = await poll(
        Hanging(),
        ids=ids,
        expectations=expectations,
        schedule=SCHEDULE,
        looks_at_once=2,
        batching=Batching(),
        last_look=0.0,
    )
    assert outcomes(events) == dict.fromkeys(ids, "timed_out")
    assert asyncio.get_running_loop().time() - start == pytest.approx(5.0)
