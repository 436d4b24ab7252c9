"""One look by a list: which assets must be retrieved after it, why, and what that says about lists."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.api.errors import ApiError, ListRefusedError, TransientError
from asset_worker.domain.assets import AssetId, Expectations, Missing, Unanswered, asset_from
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.poller.actions import Actions
from asset_worker.poller.batching import Check, ListFailure, ListLooker, by_request
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.ports import never_known
from tests.doubles.api import PROCESSING, READY, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE, lease
from tests.doubles.polling import events_in, policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time

STREAMING = {"status": "ready", "hls": {"status": "processing"}}
ONE = AssetId(IDS[0])


def ids(count):
    return [AssetId(f"{number:024x}") for number in range(1, count + 1)]


def asset(document, asset_id=ONE):
    return asset_from({"_id": asset_id, **document})


class Lists(ScriptedApi):
    """Shows, in each list, `document` for each asset, or what `others` has; or fails with `error`."""

    def __init__(self):
        self.document: dict[str, Any] = PROCESSING
        self.others: dict[str, Any] = {}
        self.error: ApiError | None = None
        self.lists: list[list[str]] = []
        self.seconds = 0.0

    async def list_assets(self, asset_ids):
        self.lists.append(list(asset_ids))
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        documents = dict.fromkeys(asset_ids, self.document) | self.others
        return {each: document and asset(document, each) for each, document in documents.items() if document != {}}


class Looking:
    """A looker at lists, and a queue that holds the assets."""

    def __init__(self, *, uniform=lambda: 1.0, slow_after=never_known, batching=None, **changes):
        self.clock = LoopClock(asyncio.get_running_loop())
        self.api, self.refusals, self.stop = Lists(), PerAssetRefusals(), Stop()
        self.queue = queue_in_memory(self.clock)
        self.uniform = uniform
        expectations = changes.pop("expectations", Expectations(deadline=30.0, unanswered_factor=2.0))
        rules = policy(expectations=expectations, batching=batching or Batching(), **changes)
        self._shared = {"policy": rules, "clock": self.clock, "refusals": self.refusals, "feedback": None}
        self.actions = Actions(self.queue, schedule=SCHEDULE, slow_after=slow_after, **self._shared)
        self.restart()

    def restart(self):
        self.lists = ListLooker(self.api, self.actions, uniform=self.uniform, **self._shared)

    async def look(self, asset_ids=(ONE,)):
        """List assets that are pending, or submitted with this. What must be retrieved then."""
        await put(self.queue, asset_ids)
        leases = self.queue.lease(asset_ids, not_seen_since=math.inf)
        return [check async for check in self.lists.look_at(leases, self.stop)]

    def batching(self):
        return self.lists.batching_at(self.clock.monotonic())

    @property
    def looks(self):
        return sum(self.actions.counts.looks.values())


def flags(check):
    return {name for name in ("is_news", "is_held", "is_audit") if getattr(check, name)}


async def test_an_asset_that_waits_on_is_not_retrieved():
    looking = Looking()
    assert await looking.look() == []
    assert looking.looks == 1


@pytest.mark.parametrize(("drawn", "audited"), [(0.0, 1), (0.049, 1), (0.05, 0)])
async def test_in_one_list_of_twenty_an_asset_that_waits_is_audited(drawn, audited):
    looking = Looking(uniform=lambda: drawn)
    checks = await looking.look()
    assert [flags(check) for check in checks] == [{"is_audit"}] * audited


async def test_an_asset_that_is_known_to_be_missing_is_not_audited():
    looking = Looking(uniform=lambda: 0.0)
    looking.api.document = {}
    [check] = await looking.look()
    assert (check.against, flags(check)) == (Missing(), set())
    await looking.actions.act(check.lease, Missing())
    assert await looking.look() == []


@pytest.mark.parametrize("transitions", [False, True])
async def test_an_asset_at_a_step_is_retrieved_if_steps_are_reported(transitions):
    looking = Looking(transitions=transitions)
    looking.api.document = STREAMING
    checks = await looking.look()
    assert [(check.against, flags(check)) for check in checks] == (
        [(asset(STREAMING), {"is_news", "is_audit"})] if transitions else []
    )
    assert looking.looks == 1
    assert not looking.queue.pending_state(ONE).progress.ready_is_certain, "a list alone may show it too early"


async def test_the_ends_of_three_assets_are_confirmed_and_those_of_others_held_meanwhile():
    looking = Looking()
    looking.api.document = READY
    checks = await looking.look(ids(5))
    assert [flags(check) for check in checks] == [{"is_news"}] * 3 + [{"is_news", "is_held"}] * 2
    assert [check.lease.progress.polls for check in checks] == [1, 1, 1, 0, 0]


async def test_what_contradicts_an_earlier_look_is_retrieved_and_no_news():
    looking = Looking()
    looking.api.document = STREAMING
    assert await looking.look() == []
    looking.api.document = PROCESSING
    [check] = await looking.look()
    assert (check.against, flags(check)) == (asset(PROCESSING), set())
    assert check.lease.progress.polls == 2


async def test_an_overdue_asset_is_retrieved_and_shows_how_far_lists_lag():
    looking = Looking(transitions=True, slow_after=lambda _: 5.0)
    await put(looking.queue, [ONE])
    await asyncio.sleep(6.0)
    [check] = await looking.look()
    assert flags(check) == {"is_audit"}


async def test_an_end_that_a_deadline_makes_is_retrieved_and_says_nothing_about_lag():
    looking = Looking(transitions=True)
    looking.api.document = STREAMING
    await put(looking.queue, [ONE])
    await asyncio.sleep(31.0)
    [check] = await looking.look()
    assert flags(check) == set()


async def test_a_held_step_is_retrieved_if_a_deadline_has_come_when_its_shape_is_proven():
    looking = Looking(transitions=True)
    looking.api.document = STREAMING
    await put(looking.queue, ids(4))
    await asyncio.sleep(29.0)
    *confirming, held = await looking.look(ids(4))
    released = asyncio.ensure_future(looking.lists.wait_for_release(held))
    await asyncio.sleep(2.0)
    for check in confirming:
        looking.lists.compare(check, asset(STREAMING, check.lease.submission.asset_id))
    check = await released
    assert check is not None
    assert (check.against, flags(check)) == (held.against, {"is_audit"})
    assert check.lease.progress.polls == 1
    assert looking.lists.settled == 0


async def test_a_held_asset_is_settled_when_its_shape_is_proven():
    looking = Looking()
    looking.api.document = READY
    *confirming, held = await looking.look(ids(4))
    released = asyncio.ensure_future(looking.lists.wait_for_release(held))
    await asyncio.sleep(1.0)
    for check in confirming:
        looking.lists.compare(check, asset(READY, check.lease.submission.asset_id))
    assert await released is None
    assert (looking.lists.settled, len(await events_in(looking.queue))) == (1, 1)


async def test_a_held_asset_whose_confirmations_hang_is_retrieved_for_itself():
    looking = Looking()
    looking.api.document = READY
    *_, held = await looking.look(ids(4))
    check = await looking.lists.wait_for_release(held)
    assert check is not None
    assert (check.against, flags(check), check.lease.progress.polls) == (held.against, {"is_news"}, 1)


async def test_assets_that_a_list_shows_may_be_asked_about_and_those_that_it_leaves_out_may_not():
    looking = Looking()
    looking.api.document, looking.api.others = {}, {ids(2)[1]: None}
    looking.refusals.denied(ID, 0.0, by_api=True)
    await looking.look(ids(1))
    assert looking.refusals.witness_for(ID) is None
    [*_, check] = await looking.look(ids(2)[1:])
    assert (check.against, flags(check)) == (None, set()), "it shows the asset, but not readably"
    assert looking.refusals.witness_for(ID) == ids(2)[1]


def audit(document, **changes):
    """A check of an asset that a list showed so."""
    return msgspec.structs.replace(Check(lease(), asset(document, ID), is_audit=True), **changes)


async def test_an_asset_that_lists_show_late_is_followed_in_the_next_lists():
    looking = Looking()
    looking.lists.compare(audit(PROCESSING), asset(READY, ID))
    assert looking.batching() == Batching(limit=49)
    assert looking.lists.confirmations.disagreements == 0
    await looking.look()
    assert looking.api.lists == [[ONE, ID]]


@pytest.mark.parametrize(
    ("check", "retrieved"),
    [
        pytest.param(audit(PROCESSING, is_audit=False), asset(READY, ID), id="an older state"),
        pytest.param(audit(READY), asset(PROCESSING, ID), id="a later state"),
        pytest.param(audit(PROCESSING), Missing(), id="one that is missing"),
        pytest.param(audit(PROCESSING, against=Missing()), asset(PROCESSING, ID), id="none of one that is there"),
    ],
)
async def test_lists_that_show_something_else_than_retrieves_four_times_are_not_used(check, retrieved):
    looking = Looking()
    for _ in range(3):
        looking.lists.compare(check, retrieved)
    assert looking.batching() == Batching()
    looking.lists.compare(check, retrieved)
    assert looking.batching() is None
    assert looking.lists.confirmations.disagreements == 0


@pytest.mark.parametrize("retrieved", [None, Unanswered("503")])
async def test_a_retrieve_that_shows_nothing_says_nothing_about_lists(retrieved):
    looking = Looking()
    for _ in range(9):
        looking.lists.compare(audit(READY), retrieved)
        looking.lists.compare(audit(READY, against=ListFailure("500", looking.clock.monotonic())), retrieved)
        await asyncio.sleep(1.0)
    assert looking.batching() == Batching()


async def test_lists_that_were_suspended_are_trusted_after_twenty_checks_of_which_none_was_late():
    looking = Looking()
    looking.api.error = ListRefusedError("404")
    with capture_logs() as logs:
        await looking.look()
        await asyncio.sleep(130.0)
        for late in (19, 19):
            for _ in range(late):
                looking.lists.compare(audit(PROCESSING), asset(PROCESSING, ID))
            looking.lists.compare(audit(PROCESSING), asset(READY, ID))
        assert [log["event"] for log in logs if log["event"].startswith("api.")] == ["api.list_doubted"]
        for _ in range(20):
            looking.lists.compare(audit(PROCESSING), asset(PROCESSING, ID))
    assert [log["event"] for log in logs if log["event"].startswith("api.")] == ["api.list_doubted", "api.list_trusted"]


async def test_a_list_that_works_shows_that_lists_which_failed_before_it_were_not_at_fault():
    looking = Looking()
    for error in (TransientError("500"), TransientError("500"), None, TransientError("500")):
        looking.api.error = error
        for check in await looking.look():
            looking.lists.compare(check, asset(PROCESSING))
            await looking.actions.act(check.lease, asset(PROCESSING))
        await asyncio.sleep(1.0)
    assert looking.batching() == Batching()


async def test_no_list_is_used_while_the_api_sends_none():
    looking = Looking()
    looking.api.may_list = False
    assert looking.batching() is None


async def test_no_list_is_used_while_more_than_two_hundred_assets_are_held():
    looking = Looking()
    for each in ids(204):
        looking.lists.confirmations.treat(each, asset(READY, each), is_doubtful=False)
    assert looking.batching() is None


@pytest.mark.parametrize(("running_for", "seconds"), [(19.0, 20.0), (20.0, 2.0)])
async def test_a_list_of_assets_that_are_past_their_limit_may_take_long_soon_after_the_start(running_for, seconds):
    loop, looking = asyncio.get_running_loop(), Looking(last_look=20.0)
    await put(looking.queue, [ONE])
    await asyncio.sleep(1000.0)
    looking.restart()
    looking.api.seconds = 3600.0
    await asyncio.sleep(running_for)
    began = loop.time()
    assert await looking.look() == []
    assert loop.time() - began == seconds
    [event] = await events_in(looking.queue)
    assert event["data"]["reason"].endswith("the deadline came before the answer")


def of(asset_id, last_seen=None):
    found = lease(progress=Progress(last_seen=last_seen))
    return msgspec.structs.replace(found, submission=msgspec.structs.replace(found.submission, asset_id=asset_id))


@pytest.mark.parametrize(
    ("odd", "is_shared"),
    [
        pytest.param(of("my-asset"), False, id="never seen"),
        pytest.param(of("my-asset", LastSeen("missing")), False, id="missing"),
        pytest.param(of("my-asset", LastSeen("processing")), True, id="the API knows it"),
    ],
)
def test_an_id_of_an_unusual_form_shares_a_list_if_the_api_has_shown_the_asset(odd, is_shared):
    usual = [of(each) for each in IDS]
    assert by_request([odd]) == [[odd]]
    assert by_request([usual[0], odd]) == ([[usual[0], odd]] if is_shared else [[odd], [usual[0]]])
    assert by_request([*usual, odd]) == ([[*usual, odd]] if is_shared else [[odd], usual])
