"""One look by a retrieve: what it returns, what it records of denials, and when another asset is asked about first."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.api.errors import (
    BadIdError,
    KeyRefusedError,
    NotFoundError,
    RateLimitedError,
    TransientError,
    UncertainNotFoundError,
)
from asset_worker.domain.assets import AssetId, Expectations, Missing, Unanswered, asset_from
from asset_worker.poller.actions import Actions
from asset_worker.poller.looks import Retriever
from asset_worker.poller.per_asset_refusals import PerAssetRefusals
from asset_worker.runtime.stop import Stop
from tests.doubles.api import PROCESSING, READY, ScriptedApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE
from tests.doubles.polling import events_in, outcomes, policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time

REFUSED, PAGE = KeyRefusedError("403"), UncertainNotFoundError("404 Not Found")
WITNESS, OTHER = AssetId(IDS[0]), AssetId(IDS[1])


class Answering(ScriptedApi):
    """Answers each retrieve of an asset with its document or error."""

    seconds = 0.0

    def __init__(self, answers):
        self.answers = answers
        self.retrieved = []

    async def retrieve(self, asset_id):
        self.retrieved.append(asset_id)
        await asyncio.sleep(self.seconds)
        answer = self.answers[asset_id]
        if isinstance(answer, Exception):
            raise answer
        return asset_from({"_id": asset_id, **answer})


class Looking:
    """A retriever of assets that are answered as given, and a queue that holds them."""

    def __init__(self, answers, **changes):
        self.clock = LoopClock(asyncio.get_running_loop())
        self.api, self.refusals, self.stop = Answering(answers), PerAssetRefusals(), Stop()
        self.queue = queue_in_memory(self.clock)
        rules = policy(expectations=Expectations(deadline=30.0, unanswered_factor=2.0), **changes)
        self._shared = {"policy": rules, "clock": self.clock, "refusals": self.refusals}
        self.actions = Actions(self.queue, schedule=SCHEDULE, feedback=None, **self._shared)
        self.restart()

    def restart(self):
        self.retriever = Retriever(self.api, self.actions, **self._shared)

    async def look(self, asset_id=ID, *, after=0.0):
        """Submit an asset, and look at it so many seconds later."""
        await put(self.queue, [asset_id])
        await asyncio.sleep(after)
        [lease] = self.queue.lease([asset_id], not_seen_since=self.clock.steady())
        return await self.retriever.look_at(lease, self.stop)

    def deny(self, *asset_ids):
        for each in asset_ids:
            self.refusals.denied(each, self.clock.monotonic(), by_api=True)


@pytest.mark.parametrize(
    ("answer", "observation"),
    [
        pytest.param(PROCESSING, asset_from({"_id": ID, **PROCESSING}), id="in process"),
        pytest.param(READY, asset_from({"_id": ID, **READY}), id="ready"),
        pytest.param(NotFoundError("404"), Missing(), id="missing"),
        pytest.param(BadIdError("400 no ID"), Missing(refused="400 no ID"), id="no ID"),
        pytest.param(RateLimitedError("429", 7.0), Unanswered("429", 7.0), id="rate limited"),
        pytest.param(PAGE, Unanswered("404 Not Found"), id="a gateway's 404"),
    ],
)
async def test_a_look_returns_what_the_retrieve_showed_and_counts(answer, observation):
    looking = Looking({ID: answer})
    assert await looking.look() == observation
    assert looking.actions.counts.looks == {"list": 0, "retrieve": 1, "none": 0}


@pytest.mark.parametrize(("answer", "is_refused"), [(REFUSED, True), (PAGE, False)], ids=["refused", "404"])
async def test_only_a_refusal_of_an_asset_that_was_shown_before_says_that_the_key_is_refused(answer, is_refused):
    looking = Looking({ID: answer})
    looking.refusals.shown(ID)
    await looking.look()
    assert (looking.refusals.is_denied(ID), looking.refusals.key_is_refused) == (True, is_refused)


@pytest.mark.parametrize(("after", "due_in"), [(1.0, 1.0), (1000.0, 0.25)], ids=["in time", "past its age limit"])
async def test_the_first_refusal_of_an_asset_is_no_look_at_it(after, due_in):
    """The key may have been refused only now: a new one may show how the asset ended.

    So it is tried again after `KEY_REFUSED_DELAY_SECONDS`, but not long after the age limit.
    """
    looking = Looking({ID: REFUSED})
    assert await looking.look(after=after) is None
    assert sum(looking.actions.counts.looks.values()) == 0
    assert looking.queue.pending_state(ID).due_in == pytest.approx(due_in)


@pytest.mark.parametrize(("after", "is_over"), [(59.0, False), (60.0, True)])
async def test_a_refusal_after_another_one_ends_the_wait_at_the_age_limit(after, is_over):
    looking = Looking({ID: REFUSED})
    looking.deny(ID)
    assert await looking.look(after=after) == (Unanswered("403") if is_over else None)
    assert outcomes(await events_in(looking.queue)) == ({ID: "timed_out"} if is_over else {})


async def test_a_look_that_the_stop_cut_short_is_none():
    looking = Looking({ID: TransientError("cut short")})
    looking.stop.set("test")
    assert await looking.look() is None
    assert sum(looking.actions.counts.looks.values()) == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(PROCESSING, id="answered"),
        pytest.param(NotFoundError("404"), id="deleted"),
        pytest.param(BadIdError("400"), id="no ID"),
        pytest.param(TransientError("503"), id="unanswered"),
    ],
)
async def test_a_denied_asset_is_retrieved_after_a_witness_unless_that_is_refused(answer):
    looking = Looking({ID: PROCESSING, WITNESS: answer})
    looking.refusals.shown(WITNESS)
    looking.deny(ID)
    assert await looking.look() is not None
    assert looking.api.retrieved == [WITNESS, ID]


async def test_while_a_witness_is_refused_a_denied_asset_is_not_retrieved():
    looking = Looking({ID: PROCESSING, WITNESS: REFUSED})
    looking.refusals.shown(WITNESS)
    looking.deny(ID)
    assert await looking.look() is None
    assert looking.api.retrieved == [WITNESS]
    assert looking.refusals.key_is_refused
    assert looking.queue.pending_count() == 1


@pytest.mark.parametrize("answer", [PROCESSING, TransientError("503")], ids=["answered", "unanswered"])
async def test_several_denied_assets_ask_about_a_witness_once(answer):
    looking = Looking({ID: PROCESSING, OTHER: PROCESSING, WITNESS: answer})
    looking.api.seconds = 0.1
    looking.refusals.shown(WITNESS)
    looking.deny(ID, OTHER)
    found = await asyncio.gather(looking.look(ID), looking.look(OTHER))
    assert None not in found
    assert looking.api.retrieved[0] == WITNESS
    assert sorted(looking.api.retrieved[1:]) == sorted([ID, OTHER])


async def test_an_asset_that_is_denied_while_a_witness_is_asked_about_needs_no_other_one():
    looking = Looking({ID: PROCESSING, OTHER: PROCESSING, WITNESS: PROCESSING})
    looking.api.seconds = 0.1
    looking.refusals.shown(WITNESS)
    looking.deny(ID)
    first = asyncio.ensure_future(looking.look(ID))
    await asyncio.sleep(0.05)
    looking.deny(OTHER)
    assert None not in (await looking.look(OTHER), await first)
    assert looking.api.retrieved.count(WITNESS) == 1


@pytest.mark.parametrize(("running_for", "seconds"), [(19.0, 20.0), (20.0, 2.0)])
async def test_an_asset_of_an_earlier_run_that_is_past_its_limit_gets_a_long_look_soon_after_the_start(
    running_for, seconds
):
    loop, looking = asyncio.get_running_loop(), Looking({ID: PROCESSING}, last_look=20.0)
    await put(looking.queue, [ID])
    await asyncio.sleep(1000.0)
    looking.restart()
    looking.api.seconds = 3600.0
    await asyncio.sleep(running_for)
    [lease] = await looking.queue.take(1)
    began = loop.time()
    assert await looking.retriever.look_at(lease, looking.stop) == Unanswered("the deadline came before the answer")
    assert loop.time() - began == seconds
