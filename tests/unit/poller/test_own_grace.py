"""A submission may bring its own grace: the ID is reserved before the upload ends, and a 404 is expected until then."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_worker.domain.assets import Expectations, Missing, Outcome
from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options
from asset_worker.poller.deadlines import age_limit
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.foresight import next_look
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from tests.doubles.api import PROCESSING, READY, ListingApi
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import IDS, SCHEDULE, decided, lease
from tests.doubles.polling import events_in, outcomes, policy, put, queue_in_memory

DAY = 86_400.0
GRACES = st.floats(1.0, 7 * DAY)
SHARES = st.floats(0.01, 0.99)
NEVER_SEEN = Progress(polls=8, phase_polls=20, last_seen=LastSeen("missing"))


@given(grace=GRACES, share=SHARES)
def test_a_404_ends_the_wait_at_the_end_of_its_own_grace_and_no_sooner(grace: float, share: float):
    options = Options(not_found_grace=grace)
    waits = decided(lease(age=grace * share, options=options, progress=NEVER_SEEN), Missing())
    assert isinstance(waits, Defer)
    assert waits.delay == pytest.approx(min(30.0, grace * (1 - share)))
    over = decided(lease(age=grace, options=options, progress=NEVER_SEEN), Missing())
    assert isinstance(over, Settle)
    assert over.verdict.outcome is Outcome.NOT_FOUND


@given(grace=GRACES, share=SHARES)
def test_what_is_shown_of_the_next_look_goes_by_the_same_grace(grace: float, share: float):
    before = lease(age=grace * share, options=Options(not_found_grace=grace), progress=NEVER_SEEN)
    step = decided(before, Missing())
    after = lease(age=grace * share, options=Options(not_found_grace=grace), progress=step.progress)
    shown = next_look(after, expectations=Expectations(), schedule=SCHEDULE)
    assert shown.delay == pytest.approx(step.delay)
    assert shown.is_deadline == (grace * (1 - share) < 30.0)


def test_without_an_answer_it_is_given_up_only_past_its_grace():
    assert age_limit(Options(not_found_grace=DAY), Expectations()) == 2 * (14_400.0 + DAY)
    assert age_limit(Options(not_found_grace=DAY, deadline=60.0), Expectations()) == 120.0


@pytest.mark.virtual_time
@pytest.mark.usefixtures("hours_pass")
@pytest.mark.parametrize("batching", [None, Batching()], ids=["retrieves", "lists"])
async def test_an_id_that_was_reserved_for_most_of_a_day_is_watched_to_its_end_at_the_longest_delay(batching):
    uploaded, gone, usual = IDS
    api = ListingApi({uploaded: [None], gone: [None], usual: [None]})
    clock, stop = LoopClock(asyncio.get_running_loop()), Stop()
    queue = queue_in_memory(clock)
    poller = Poller(queue, api, schedule=SCHEDULE, policy=policy(batching=batching), clock=clock)
    await put(queue, [uploaded, gone], Options(not_found_grace=DAY))
    await put(queue, [usual])
    running = asyncio.ensure_future(poller.run(stop))
    await asyncio.sleep(0.9 * DAY)
    assert outcomes(await events_in(queue)) == {usual: "not_found"}
    api.documents[uploaded] = [PROCESSING] * 4 + [READY]
    await asyncio.sleep(600)
    assert outcomes(await events_in(queue)) == {usual: "not_found", uploaded: "ready"}
    await asyncio.sleep(0.1 * DAY)
    assert outcomes(await events_in(queue)) == {usual: "not_found", uploaded: "ready", gone: "not_found"}
    requests, looks = len(api.retrieved) + len(api.lists), 2 * DAY / 30
    assert requests < (1.02 * looks if batching is None else 0.6 * looks)
    stop.set("test")
    await running
