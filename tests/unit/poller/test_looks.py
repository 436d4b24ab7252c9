"""Looking at one asset by a retrieve."""

from __future__ import annotations

import asyncio
import math

import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import (
    BadIdError,
    HeldError,
    KeyRefusedError,
    NotFoundError,
    RateLimitedError,
    TransientError,
    UncertainNotFoundError,
)
from asset_worker.domain.assets import Expectations
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
    assert dict(poller.counts.completions) == {"ready": 2, "failed": 1}
    [log] = [log for log in logs if log["event"] == "asset.completed" and log["outcome"] == "failed"]
    assert (log["asset_id"], log["reason"], log["polls"]) == (IDS[2], "unsupported codec", 1)


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(TransientError("503"), id="transient"),
        pytest.param(RateLimitedError("429", 5.0), id="rate limited"),
        pytest.param(KeyRefusedError("401"), id="key refused"),
        pytest.param(NotFoundError("404"), id="not visible yet"),
        pytest.param(UncertainNotFoundError("404"), id="a gateway's 404"),
    ],
)
async def test_a_failed_request_makes_no_outcome(problem):
    [event], _, _ = await poll(ScriptedApi(problem, problem, PROCESSING, problem, READY))
    assert event["data"]["outcome"] == "ready"


async def test_a_refused_key_counts_as_no_look_and_is_tried_again_after_a_second():
    start = asyncio.get_running_loop().time()
    [event], poller, _ = await poll(ScriptedApi(KeyRefusedError("401"), READY))
    assert asyncio.get_running_loop().time() - start == pytest.approx(1.0)
    assert event["data"]["polls"] == poller.looks == 1


async def test_a_request_that_was_not_sent_in_an_outage_counts_as_no_look_and_is_made_after_its_wait():
    start = asyncio.get_running_loop().time()
    [event], poller, _ = await poll(ScriptedApi(HeldError("the API is unavailable", 7.0), READY))
    assert event["data"]["polls"] == poller.looks == 1
    assert asyncio.get_running_loop().time() - start == pytest.approx(7.0)


class DenyingApi(ListingApi):
    """Denies some assets for ever, or all of them in a span of time."""

    def __init__(self, documents, *, error, denied=(), all_denied=(math.inf, math.inf)):
        super().__init__(documents)
        self.error, self.denied, self.all_denied = error, denied, all_denied

    async def retrieve(self, asset_id):
        begins, ends = self.all_denied
        if asset_id in self.denied or begins <= asyncio.get_running_loop().time() < ends:
            self.retrieved.append(asset_id)
            raise self.error
        return await super().retrieve(asset_id)


REFUSED, PAGE = KeyRefusedError("403 region_not_allowed"), UncertainNotFoundError("404 Not Found")
STILL = [PROCESSING] * 10_000


def reason_of(events, asset_id):
    return next(event["data"]["reason"] for event in events if event["subject"] == asset_id)


async def test_an_asset_that_alone_is_refused_waits_as_others_do_and_ends():
    """It is another account's, say: no key would work, and asking every second would hold up all others."""
    api = DenyingApi(dict.fromkeys(IDS, STILL), error=REFUSED, denied=[ID])
    expectations = Expectations(deadline=600)
    events, _, _ = await poll(api, ids=(ID, *IDS), expectations=expectations, schedule=SCHEDULE, seconds=5000.0)
    assert outcomes(events) == {ID: "timed_out"} | dict.fromkeys(IDS, "timed_out")
    assert "403 region_not_allowed" in reason_of(events, ID)
    assert api.retrieved.count(ID) < 60


@pytest.mark.parametrize(
    ("error", "is_final", "outcome"),
    [
        pytest.param(REFUSED, True, "not_found", id="refused, and somebody waits"),
        pytest.param(REFUSED, False, "timed_out", id="refused, in a service"),
        pytest.param(PAGE, False, "not_found", id="404 without a code"),
    ],
)
@pytest.mark.parametrize("script", [[READY], [PROCESSING] * 3 + [READY]], ids=["done at once", "done later"])
@pytest.mark.parametrize("batching", [None, Batching()], ids=["retrieves", "lists"])
@pytest.mark.parametrize("order", [1, -1])
async def test_an_asset_that_alone_is_denied_ends_after_its_grace_though_no_other_is_pending_any_more(
    error, is_final, outcome, script, batching, order
):
    """What was answered before is asked about again: so the key and the way to the API are known to work."""
    start = asyncio.get_running_loop().time()
    api = DenyingApi({IDS[0]: script}, error=error, denied=[ID])
    api.listed = lambda asset_id, document: document
    api.documents[ID] = [None]
    events, poller, _ = await poll(
        api,
        ids=(ID, IDS[0])[::order],
        expectations=Expectations(deadline=600),
        schedule=SCHEDULE,
        batching=batching,
        refusal_is_final=is_final,
        seconds=5000.0,
    )
    assert outcomes(events) == {ID: outcome, IDS[0]: "ready"}
    assert str(error) in reason_of(events, ID)
    if outcome == "not_found":
        assert 60 <= asyncio.get_running_loop().time() - start < 100
        assert api.retrieved.count(IDS[0]) <= api.retrieved.count(ID) + 4
    assert not poller.key_is_refused


@pytest.mark.parametrize("error", [REFUSED, PAGE], ids=["refused", "404"])
async def test_an_asset_that_nobody_else_is_asked_about_with_is_not_given_up(error):
    """Perhaps the key is refused, or a gateway has a default page."""
    api = DenyingApi({}, error=error, denied=[ID])
    events, _, _ = await poll(api, refusal_is_final=True, seconds=3000.0)
    assert events == []


@pytest.mark.parametrize("error", [REFUSED, PAGE], ids=["refused", "404"])
@pytest.mark.parametrize("batching", [None, Batching()], ids=["retrieves", "lists"])
async def test_what_everything_gets_for_longer_than_the_grace_settles_nothing(error, batching):
    api = DenyingApi({each: [PROCESSING] * 20 + [READY] for each in IDS}, error=error, all_denied=(20.0, 120.0))
    events, _, _ = await poll(
        api,
        ids=IDS,
        expectations=Expectations(not_found_grace=5),
        schedule=SCHEDULE,
        batching=batching,
        refusal_is_final=True,
    )
    assert outcomes(events) == dict.fromkeys(IDS, "ready")


async def test_denials_of_an_asset_that_other_failures_interrupt_do_not_end_its_wait_early():
    """What answers now this way and now that is no statement about the asset."""

    class Api(DenyingApi):
        asked = 0

        async def retrieve(self, asset_id):
            self.asked += asset_id == ID
            if asset_id == ID and self.asked % 2:
                raise TransientError("503")
            return await super().retrieve(asset_id)

    api = Api(dict.fromkeys(IDS, STILL), error=PAGE, denied=[ID])
    expectations = Expectations(deadline=600)
    events, _, _ = await poll(api, ids=(ID, *IDS), expectations=expectations, schedule=SCHEDULE, seconds=5000.0)
    assert outcomes(events) == dict.fromkeys((ID, *IDS), "timed_out")


async def test_a_key_that_is_refused_from_now_on_is_known_by_an_asset_that_was_answered_before():
    """Those that are pending were never answered: they could be another account's."""
    api = DenyingApi({IDS[0]: [READY]}, error=REFUSED, denied=[ID], all_denied=(0.5, math.inf))
    events, poller, _ = await poll(api, ids=(IDS[0], ID), refusal_is_final=True, seconds=300.0)
    assert outcomes(events) == {IDS[0]: "ready"}
    assert poller.key_is_refused
    assert IDS[0] in api.retrieved[-2:]


async def test_a_refused_asset_ends_at_twice_its_deadline_if_no_other_can_be_asked_about():
    """The other one fails in its own way, so whether the key works stays unknown."""

    class Api(DenyingApi):
        async def retrieve(self, asset_id):
            if asset_id == IDS[0] and asyncio.get_running_loop().time() > 1.0:
                raise TransientError("500")
            return await super().retrieve(asset_id)

    api = Api({IDS[0]: STILL}, error=REFUSED, denied=[ID])
    events, _, _ = await poll(api, ids=(IDS[0], ID), expectations=Expectations(deadline=60), schedule=SCHEDULE)
    assert outcomes(events) == dict.fromkeys((ID, IDS[0]), "timed_out")


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
