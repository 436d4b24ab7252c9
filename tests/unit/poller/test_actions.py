"""What the poller does with a lease after a look."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.assets import Expectations, Missing, Unanswered
from asset_worker.domain.instants import seconds_of
from asset_worker.domain.submissions import Options
from asset_worker.poller.actions import Actions
from asset_worker.poller.decide import Defer, Settle
from asset_worker.poller.per_asset_refusals import DENIALS, PerAssetRefusals
from tests.doubles.clocks import LoopClock
from tests.doubles.looks import ID, IDS, SCHEDULE, seen
from tests.doubles.polling import policy, put, queue_in_memory

pytestmark = pytest.mark.virtual_time


async def test_an_asset_settled_while_it_was_refused_is_forgotten_among_the_refused():
    clock, refusals = LoopClock(asyncio.get_running_loop()), PerAssetRefusals()
    queue = queue_in_memory(clock)
    at_once = policy(expectations=Expectations(deadline=0.0))
    actions = Actions(queue, schedule=SCHEDULE, policy=at_once, clock=clock, feedback=None, refusals=refusals)
    for now in range(DENIALS):
        denied_for = refusals.denied(ID, float(now), by_api=True)
        refusals.answered(IDS[0])
    assert denied_for is not None
    await put(queue, [ID])
    [lease] = await queue.take(1)
    await actions.act(lease, Unanswered("403"))
    assert dict(actions.counts.completions) == {"timed_out": 1}
    assert not refusals.is_denied(ID)


async def test_a_watcher_sees_each_look_and_what_follows_from_it():
    clock, seen = LoopClock(asyncio.get_running_loop()), []
    queue = queue_in_memory(clock)
    actions = Actions(
        queue,
        schedule=SCHEDULE,
        policy=policy(expectations=Expectations(not_found_grace=5.0)),
        clock=clock,
        feedback=None,
        refusals=PerAssetRefusals(),
        observe=lambda *look: seen.append(look),
    )
    await put(queue, [ID])
    for _ in range(2):
        [lease] = await queue.take(1)
        await actions.act(lease, Missing())
        await asyncio.sleep(5.0)
    assert [(lease.submission.asset_id, observation, type(step)) for lease, observation, step in seen] == [
        (ID, Missing(), Defer),
        (ID, Missing(), Settle),
    ]


@pytest.mark.parametrize(
    ("age", "held", "delay", "due_in"),
    [
        pytest.param(1.0, 0.0, 5.0, 5.0, id="before the limit"),
        pytest.param(1.0, 0.0, 600.0, 59.0, id="not beyond the limit"),
        pytest.param(1.0, 30.0, 600.0, 29.0, id="not beyond the limit after a look that took long"),
        pytest.param(59.9, 0.0, 600.0, 0.25, id="at the limit"),
    ],
)
async def test_an_asset_that_was_not_looked_at_is_due_again_at_its_age_limit_at_the_latest(
    age: float, held: float, delay: float, due_in: float
):
    loop = asyncio.get_running_loop()
    clock, expectations = LoopClock(loop), Expectations(deadline=30.0, unanswered_factor=2.0)
    queue = queue_in_memory(clock)
    actions = Actions(
        queue,
        schedule=SCHEDULE,
        policy=policy(expectations=expectations),
        clock=clock,
        feedback=None,
        refusals=PerAssetRefusals(),
    )
    await put(queue, [ID])
    await asyncio.sleep(age)
    leases = await queue.take(1)
    await asyncio.sleep(held)
    await actions.put_back(leases, delay)
    began = loop.time()
    [lease] = await queue.take(1)
    assert loop.time() - began == pytest.approx(due_in)
    assert (lease.progress.polls, sum(actions.counts.looks.values())) == (0, 0)


async def test_events_have_the_trace_context_that_the_policy_gives_their_submission():
    """The queue keeps the submission as it was."""
    clock = LoopClock(asyncio.get_running_loop())
    queue = queue_in_memory(clock)

    def traced(submission, completion):
        return msgspec.structs.replace(submission, options=Options(traceparent=f"of completion {completion}"))

    actions = Actions(
        queue,
        schedule=SCHEDULE,
        policy=msgspec.structs.replace(policy(expectations=Expectations(not_found_grace=5.0)), traced=traced),
        clock=clock,
        feedback=None,
        refusals=PerAssetRefusals(),
    )
    await put(queue, [ID])
    [lease] = await queue.take(1)
    await actions.act(lease, Missing())
    assert queue.pending_state(ID).options is None
    await asyncio.sleep(5.0)
    [lease] = await queue.take(1)
    await actions.act(lease, Missing())
    [event] = await queue.outbox.read("stdout", 9)
    assert json.loads(event.body)["traceparent"] == "of completion 1"


def acting(clock, queue):
    return Actions(queue, schedule=SCHEDULE, policy=policy(), clock=clock, feedback=None, refusals=PerAssetRefusals())


async def test_the_time_for_which_a_lease_was_held_counts_for_all_that_is_told_of_the_end():
    """The look that shows the end takes three seconds."""
    clock = LoopClock(asyncio.get_running_loop())
    clock.stepped = 500.0
    queue = queue_in_memory(clock)
    actions = acting(clock, queue)
    await put(queue, [ID])
    accepted_at = clock.now()
    [lease] = await queue.take(1)
    await actions.act(lease, seen())
    [lease] = await queue.take(1)
    await asyncio.sleep(3.0)
    with capture_logs() as logs:
        await actions.act(lease, seen("ready"))
    [completed] = [log for log in logs if log["event"] == "asset.completed"]
    assert (completed["elapsed"], completed["polls"]) == (5.0, 2)
    counts = actions.counts
    assert [(found.count, found.sum) for found in counts.detection_lags.read().values()] == [(1, pytest.approx(5.0))]
    assert [(found.count, found.sum) for found in counts.durations.read().values()] == [(1, pytest.approx(5.0))]
    [event] = await queue.outbox.read("stdout", 9)
    data = json.loads(event.body)["data"]
    assert seconds_of(data["submitted_at"]) == pytest.approx(accepted_at, abs=0.002)
    assert seconds_of(data["completed_at"]) == pytest.approx(clock.now(), abs=0.002)


async def test_a_retrieve_that_shows_it_ready_is_certain_of_it():
    clock = LoopClock(asyncio.get_running_loop())
    queue = queue_in_memory(clock)
    await put(queue, [ID])
    [lease] = await queue.take(1)
    await acting(clock, queue).act(lease, seen("ready", hls={"status": "processing"}))
    assert queue.pending_state(ID).progress.ready_is_certain
