"""The events of steps that a whole poller makes, in virtual time: true, each once, none after the completion.

Lists lag, skip and drop; the worker is killed at any moment and starts again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from asset_worker.domain.assets import Expectations, asset_from
from asset_worker.domain.submissions import Submission, expectations_for
from asset_worker.domain.transitions import TRANSITIONS, steps_shown
from asset_worker.poller.loop import Poller
from asset_worker.poller.policy import Batching
from asset_worker.runtime.stop import Stop
from asset_worker.schedule.waits import exponential, from_tenacity
from asset_worker.simulator.lifecycles import Lifecycle, Rendition
from tests.doubles import list_faults as lists
from tests.doubles.clocks import LoopClock
from tests.doubles.local_queue import directory_in_memory, end_all_tasks, maintain, open_local
from tests.doubles.polling import policy, poll
from tests.doubles.threads import SuspendingThread
from tests.doubles.truth_check import Findings
from tests.doubles.virtual_time import run_virtually
from tests.doubles.watching import EXPECTATIONS, clips, watch
from tests.doubles.world import EPOCH, World, switched
from tests.unit.poller.test_hostile_lists import FAULTS, MILD, populate

CASES = settings(max_examples=int(os.environ.get("LIST_CASES", "5")), phases=[Phase.explicit, Phase.generate])
SLOW_AFTER = 40.0
STATUSES = {"processed": "status", "playable": "hls", "thumbnail_ready": "thumbnail"}


def slow_after(_look):
    return SLOW_AFTER


def instant_of(text):
    """The moment in the loop's time."""
    return datetime.fromisoformat(text).timestamp() - EPOCH


def word_of(event):
    return event["type"].rsplit(".", 1)[1]


def by_asset(events):
    found = {}
    for event in events:
        found.setdefault(event["subject"], []).append(event)
    return found


def check_order(events):
    """Each event once, steps before the completion, and all steps that the completion's document shows."""
    ids = [event["id"] for event in events]
    assert len(set(ids)) == len(ids), "an event was made twice"
    for asset_id, found in by_asset(events).items():
        *steps, end = found
        assert end["id"] == f"{asset_id}.1", "a step came after the completion, or there is none"
        assert [each["id"] for each in steps] == [f"{asset_id}.1.{word_of(each)}" for each in steps]
        assert {word_of(each) for each in steps} <= TRANSITIONS
        times = [each["time"] for each in found]
        assert times == sorted(times)


def check_truth(world, events, options):
    """What each step says was true when it was said, and no step is missing that the completion shows."""
    for asset_id, found in by_asset(events).items():
        *steps, end = found
        names = {word_of(each) for each in steps}
        for each in steps:
            assert is_true(world, asset_id, each), f"{each['id']} at {instant_of(each['time']):.2f} is false"
        document = end["data"]["asset"]
        if document is not None and "created_at" in document:
            expected = expectations_for(options[asset_id], EXPECTATIONS)
            assert {each.value for each in steps_shown(asset_from(document), expected)} <= names


def is_true(world, asset_id, event):
    truth = world.assets[asset_id]
    moment = min(instant_of(event["time"]) + 0.001, truth.deleted - 0.001)
    shown = truth.at(moment)
    match word_of(event):
        case "processed":
            return shown["status"] == "ready"
        case "overdue":
            # It waited when a retrieve asked, long after its acceptance.
            retrieves = [each for each in world.answers[asset_id] if not each.is_list and each.seen <= moment + 0.01]
            return bool(retrieves) and retrieves[-1].document is not None
        case word:
            return shown[STATUSES[word]]["status"] == "ready"


def scenario(seed, switches, *, slow=False, count=200, **changes):
    async def main():
        random = Random(seed)
        delays = (lambda random: random.choice([0.05, 0.3, 8.0])) if slow else None
        world = World(random, delay=delays)
        views = [(moment, FAULTS[name](world, world.honest)) for moment, name in sorted(switches)]
        world.view = switched(world.honest, views)
        arrivals = populate(world, random, count)
        options = {asset_id: each for _, ids, each in arrivals for asset_id in ids}
        return await watch(world, arrivals, seconds=2000, slow_after=slow_after, **changes), options

    return run_virtually(main())


SWITCHES = st.tuples(st.floats(0, 360), st.sampled_from([*MILD]))


@CASES
@given(seed=st.integers(0, 2**32), switches=st.lists(SWITCHES, max_size=5), slow=st.booleans())
def test_steps_are_true_once_and_before_the_completion_whatever_lists_lag_skip_or_drop(seed, switches, slow):
    found, options = scenario(seed, switches, slow=slow, transitions=True)
    assert found.findings == Findings([], [])
    check_order(found.events)
    check_truth(found.world, found.events, options)


@CASES
@given(
    seed=st.integers(0, 2**32), switches=st.lists(st.tuples(st.floats(0, 360), st.sampled_from([*FAULTS])), max_size=5)
)
def test_lists_that_lie_change_nothing_about_the_order(seed, switches):
    found, _ = scenario(seed, switches, transitions=True)
    check_order(found.events)


@CASES
@given(seed=st.integers(0, 2**32))
def test_without_transitions_the_events_are_the_same_byte_for_byte(seed):
    without, _ = scenario(seed, [], count=80, batching=None)
    having, _ = scenario(seed, [], count=80, batching=None, transitions=True)
    ended = [event for event in having.events if word_of(event) not in TRANSITIONS]
    assert [msgspec.json.encode(each) for each in ended] == [msgspec.json.encode(each) for each in without.events]
    assert len(having.events) > len(without.events)
    assert having.logged("asset.overdue") == without.logged("asset.overdue")


@CASES
@given(seed=st.integers(0, 2**32), kills=st.lists(st.floats(0.0, 40.0), max_size=8), lag=st.sampled_from([0, 5, 60]))
def test_no_kill_repeats_a_step_or_brings_it_behind_the_completion(seed, kills, lag):
    """The worker is killed after so many seconds, between any two transactions, and starts again at once."""

    async def main():
        random = Random(seed)
        world = World(random)
        world.view = lists.lags(lag)(world, world.honest)
        arrivals = populate(world, random, 60)
        options = {asset_id: each for _, ids, each in arrivals for asset_id in ids}
        with directory_in_memory() as directory:
            events = await run_with_kills(Path(directory) / "j", world, arrivals, kills)
        return world, events, options

    world, events, options = run_virtually(main())
    check_order(events)
    assert by_asset(events).keys() == options.keys()
    check_truth(world, events, options)


async def run_with_kills(path, world, arrivals, kills):
    """All events, after a run that ends when all assets are settled; kills come at any turn of the event loop."""
    clock = LoopClock(asyncio.get_running_loop())
    for seconds in [*kills, None]:
        queue = open_local(path, clock, thread=SuspendingThread(), window=1e6)
        await queue.begin(ends_by_itself=False)
        now = world.now()
        for _, ids, options in [each for each in arrivals if each[0] <= now + 20]:
            submissions = [Submission(each, "stdin", 1, options) for each in ids]
            await queue.put(submissions, events=[], intake="i", position=None)
        growing = exponential(initial=2, multiplier=1.5, maximum=30, uniform=Random(1).random)
        poller = Poller(
            queue,
            world,
            schedule=from_tenacity(growing),
            policy=policy(expectations=EXPECTATIONS, looks_at_once=8, batching=Batching(), transitions=True),
            clock=clock,
            slow_after=slow_after,
            uniform=Random(2).random,
        )
        stop = Stop()
        running = asyncio.ensure_future(poller.run(stop))
        if seconds is not None:
            await asyncio.sleep(seconds)
            for _ in range(int(seconds * 1000) % 7):
                await asyncio.sleep(0)
            await end_all_tasks()
            queue.crash()
            continue
        for moment, ids, options in arrivals:
            await asyncio.sleep(max(0.0, moment - world.now()))
            submissions = [Submission(each, "stdin", 1, options) for each in ids]
            await queue.put(submissions, events=[], intake="i", position=None)
        await queue.idle()
        stop.set("test")
        await running
        events = [msgspec.json.decode(each.body) for each in await queue.outbox.read("stdout", 100_000)]
        await maintain(queue)
        queue.crash()
    return events


@pytest.mark.virtual_time
async def test_shapes_that_show_a_step_are_learned_so_that_lists_are_believed():
    """Of many assets that show the same step, few are retrieved for it.

    A retrieve must confirm `ready` in any case: the thumbnail is another step after that.
    """
    lifecycle = Lifecycle(20, hls=Rendition(90), thumbnail=Rendition(50))
    costs = {}
    for transitions in (False, True):
        world = World(Random(5))
        now = world.now()
        ids = clips(world, 200, lifecycle, born=now)
        found = await watch(world, [(now, ids, None)], seconds=2000, transitions=transitions)
        assert found.findings == Findings([], [])
        costs[transitions] = world.retrieves
        assert 0 < found.from_lists < 200, "a step was counted as a completion"
        steps = [word_of(event) for event in found.events if event["data"]["renditions"]["hls"] == "processing"]
        assert Counter(steps) == ({"processed": 200, "thumbnail_ready": 200} if transitions else {})
    assert costs[True] - costs[False] < 30


@pytest.mark.virtual_time
async def test_a_step_that_only_a_lying_list_shows_is_not_reported():
    """While no shape is proven, a retrieve decides."""
    world = World(Random(6))
    ids = clips(world, 40, Lifecycle(200, hls=Rendition(50), thumbnail=Rendition(50)), born=0)
    world.view = lists.says_only_ready(world, world.honest)
    found = await watch(world, [(0.0, ids, None)], seconds=2000, transitions=True)
    check_order(found.events)
    check_truth(world, found.events, dict.fromkeys(ids))


@pytest.mark.virtual_time
async def test_an_overdue_wait_is_confirmed_by_a_retrieve_reported_and_logged_once():
    world = World(Random(7))
    [asset_id] = clips(world, 1, Lifecycle(200, hls=Rendition(100)), born=0)
    more = clips(world, 5, Lifecycle(10), born=0)
    found = await watch(world, [(0.0, [asset_id, *more], None)], seconds=2000, transitions=True, slow_after=slow_after)
    overdue = [event for event in found.events if word_of(event) == "overdue"]
    assert [event["id"] for event in overdue] == [f"{asset_id}.1.overdue"]
    assert overdue[0]["data"]["asset"]["status"] == "processing"
    [log] = found.logged("asset.overdue")
    assert (log["asset_id"], log["waiting_on"], log["p99"]) == (asset_id, ["asset"], SLOW_AFTER)
    assert log["age"] > SLOW_AFTER


@pytest.mark.virtual_time
async def test_lists_that_show_an_overdue_wait_although_it_has_ended_are_behind_and_not_wrong():
    """A lag of some seconds must not cost the lists, just because all retrieves that confirm come so late."""
    world = World(Random(10))
    world.view = lists.lags(15)(world, world.honest)
    ids = clips(world, 30, Lifecycle(20 + SLOW_AFTER - 1), born=0)
    found = await watch(world, [(20.0, ids, None)], seconds=2000, transitions=True, slow_after=slow_after)
    assert found.findings == Findings([], [])
    assert not found.logged("api.list_doubted")
    assert not [event for event in found.events if word_of(event) == "overdue"]


@pytest.mark.virtual_time
async def test_an_overdue_wait_is_logged_without_transitions_too():
    world = World(Random(8))
    ids = clips(world, 2, Lifecycle(100), born=0)
    found = await watch(world, [(0.0, ids, None)], seconds=2000, slow_after=slow_after)
    assert {log["asset_id"] for log in found.logged("asset.overdue")} == set(ids)
    assert len(found.logged("asset.overdue")) == 2
    assert {word_of(event) for event in found.events} == {"ready"}


@pytest.mark.virtual_time
async def test_a_deadline_that_comes_while_a_step_is_held_is_not_taken_from_the_list():
    """Others prove the shape of its document meanwhile; the outcome needs a retrieve."""
    world = World(Random(9))
    ids = clips(world, 10, Lifecycle(370, hls=Rendition(1000)), born=0)
    world.retrieve_fails = lambda asset_id: 1.0
    with capture_logs() as logs:
        events, _, _ = await poll(
            world,
            ids=ids,
            schedule=lambda look: 30.0,
            expectations=Expectations(deadline=393.2),
            looks_at_once=20,
            batching=Batching(),
            transitions=True,
        )
    assert [log["event"] for log in logs if log["event"].startswith("api.list")] == ["api.list_proven"]
    assert {event["data"]["outcome"] for event in events} == {None, "timed_out"}
    assert not any(world.answers[asset_id][-1].is_list for asset_id in ids)
    check_order(events)
