"""The outbox in memory call by call, and how long the memory engine knows of a settlement."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.transitions import Transition
from asset_worker.queue.memory import MemoryQueue
from asset_worker.queue.outbox_readers import TRACES
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import put, settle, submission
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS, turns
from tests.unit.queue.outbox_model import event_of, wants_all

HOOK, STEP, LATE_STEP = "hook", Transition.PLAYABLE, Transition.OVERDUE
DAY = 86_400.0


def opened(*sinks, window=DEDUPE_WINDOW):
    return MemoryQueue(ManualClock(), sinks=sinks, dedupe_window=window, max_pending=9)


@pytest.fixture
def queue():
    return opened(HOOK)


async def filled(queue, *events):
    await put(queue, events=events)
    return queue.outbox


def take(queue, limit=9, *, without=(), wants=wants_all, now=5.0, until=None, **more):
    until = now if until is None else until
    return queue.outbox.take(HOOK, limit, now=now, until=until, without=without, wants=wants, **more)


async def taken(queue, *args, **more):
    return [owed.event.position for owed in (await take(queue, *args, **more)).events]


def fail(queue, position, *, next_at=99.0):
    return queue.outbox.failed(HOOK, position, attempts=1, first_at=5.0, now=5.0, next_at=next_at, error="HTTP 500")


def give_up(queue, position):
    return queue.outbox.dead_letter(HOOK, position, attempts=9, first_at=1.0, now=5.0, reason="HTTP 500")


async def test_a_sink_reads_what_it_lacks_and_goes_on_after_what_it_has():
    outbox = await filled(opened("a", "b"), *(event_of(asset, 1) for asset in "abc"))
    assert [event.position for event in await outbox.read("a", 2)] == [1, 2]
    assert (outbox.owed("a"), outbox.depth(), outbox.position("a"), outbox.oldest_at("a")) == (3, 3, 0, 0.0)
    await outbox.advance("a", 2, b"mark")
    assert [event.id for event in await outbox.read("a", 9)] == ["c.1"]
    assert (await outbox.checkpoint("a"), outbox.position("a"), outbox.owed("a")) == (b"mark", 2, 1)
    await outbox.advance("a", 3, None)
    assert (await outbox.read("a", 9), await outbox.checkpoint("a")) == ([], None)
    assert [event.position for event in await outbox.read("b", 9)] == [1, 2, 3]
    await outbox.advance("b", 3, None)
    assert (outbox.depth(), outbox.oldest_at("b")) == (0, None)


async def test_a_reader_that_is_too_far_behind_is_moved_on():
    outbox = await filled(opened("a", TRACES), *(event_of(asset, 1) for asset in "abcd"))
    assert [await outbox.move_on(TRACES, keep=keep) for keep in (5, 4, 3, 1, 1, 0)] == [0, 0, 1, 2, 0, 1]
    assert (outbox.position(TRACES), outbox.owed(TRACES), outbox.depth()) == (4, 0, 4)


async def test_what_is_due_is_taken_in_order_and_of_each_asset_one(queue):
    outbox = await filled(queue, *(event_of(asset, 1) for asset in "abc"), event_of("a", 2), event_of(None, 1))
    first = await take(queue, 2)
    assert [(owed.event.id, owed.asset_id, owed.attempts, owed.first_at, owed.next_at) for owed in first.events] == [
        ("a.1", "a", 0, None, 5.0), ("b.1", "b", 0, None, 5.0)
    ]  # fmt: skip
    assert await taken(queue, without=[1, 2]) == [3, 5]
    await fail(queue, 2, next_at=8.0)
    await fail(queue, 1, next_at=9.0)
    later = await take(queue, until=8.0, without=[3, 5])
    assert ([owed.event.position for owed in later.events], later.next_at) == ([2], 9.0)
    assert [(owed.attempts, owed.first_at, owed.next_at) for owed in later.events] == [(1, 5.0, 8.0)]
    assert await taken(queue, until=9.0, without=[3, 5]) == [2, 1]
    await outbox.delivered(HOOK, 1, now=6.0)
    assert await taken(queue, until=6.0, without=[3, 5]) == [4]
    assert (outbox.owed(HOOK), outbox.oldest_at(HOOK)) == (4, 0.0)


async def test_what_is_not_wanted_is_passed(queue):
    outbox = await filled(queue, *(event_of(asset, 1) for asset in "abc"))
    assert await taken(queue, wants=lambda event: event.position == 3) == [3]
    assert (outbox.position(HOOK), outbox.owed(HOOK)) == (3, 1)


async def test_what_failed_and_what_is_due_with_it_become_due_at_once(queue):
    outbox = await filled(queue, event_of("a", 1), event_of("a", 2), event_of("b", 1))
    await taken(queue)
    await fail(queue, 1)
    await fail(queue, 3, next_at=4.0)
    assert (await taken(queue, until=98.0), (await take(queue)).next_at) == ([3], 99.0)
    await outbox.make_all_due(HOOK, now=6.0)
    assert await taken(queue, until=6.0) == [3, 1]
    await outbox.delivered(HOOK, 1, now=7.0)
    assert await taken(queue, until=6.0) == [3]
    assert await taken(queue, until=7.0) == [3, 2]


async def test_steps_are_taken_only_as_far_as_there_is_a_place_for_them(queue):
    await filled(queue, event_of("a", 1, STEP), event_of("b", 1, STEP), event_of("c", 1))
    assert await taken(queue, 9) == [3]
    assert await taken(queue, 9, without=[3], transitions=1) == [1]
    assert await taken(queue, 2, transitions=9) == [3, 1]
    assert await taken(queue, 1, transitions=9) == [3]


async def test_a_completion_that_comes_takes_the_place_of_a_step_that_waits(queue):
    await filled(queue, event_of("a", 1, STEP), event_of("b", 1, STEP), event_of("a", 1, LATE_STEP))
    assert await taken(queue, transitions=9) == [1, 2]
    await fail(queue, 1)
    await put(queue, events=[event_of("a", 1), event_of("b", 1)])
    found = await take(queue, without=[2], transitions=9)
    assert (found.superseded, found.holding_up) == (("a.1.playable", "a.1.overdue"), (2,))
    assert [owed.event.id for owed in found.events] == ["a.1"]
    assert (queue.outbox.dead_letters, queue.outbox.owed(HOOK)) == ({HOOK: 2}, 3)
    again = await take(queue)
    assert ([owed.event.id for owed in again.events], again.holding_up) == (["b.1.playable", "a.1"], (2,))


@pytest.mark.parametrize("end", [fail, give_up])
async def test_a_step_that_fails_while_its_completion_waits_is_superseded_with_all_others(queue, end):
    await filled(queue, event_of("a", 1, STEP), event_of("a", 1, LATE_STEP), event_of("a", 1))
    assert await taken(queue, transitions=9) == [1]
    assert await end(queue, 1) == ("a.1.playable", "a.1.overdue")
    assert await taken(queue) == [3]
    assert (queue.outbox.dead_letters, queue.outbox.owed(HOOK)) == ({HOOK: 2}, 1)


async def test_what_is_delivered_failed_and_given_up_is_counted(queue):
    outbox = await filled(queue, *(event_of(asset, 1) for asset in "abc"))
    await taken(queue)
    for _ in range(2):
        await outbox.delivered(HOOK, 1, now=5.0)
        assert outbox.owed(HOOK) == 2
    assert (await fail(queue, 1), await fail(queue, 2)) == ((), ())
    assert (await give_up(queue, 3), await give_up(queue, 3)) == ((), ())
    assert (outbox.owed(HOOK), outbox.dead_letters) == (1, {HOOK: 1})


@pytest.mark.virtual_time
async def test_nobody_can_ask_for_a_retry_or_for_a_condition(queue):
    waiting = asyncio.ensure_future(queue.outbox.wait_for_retry(HOOK))
    await turns(3)
    assert not waiting.done()
    waiting.cancel()
    assert await queue.outbox.condition(HOOK) is None


@pytest.mark.parametrize(("window", "days"), [(60.0, 7), (2 * DAY, 14)])
async def test_the_count_of_completions_is_known_for_seven_windows_and_a_week_at_least(window, days):
    queue = opened("a", window=window)
    await settle(queue, 0)
    queue._clock.move(1.0)
    await settle(queue, 1)
    queue._clock.move(days * DAY - 1.0)
    await settle(queue, 2)
    assert (await queue.find(IDS[0])).settled is not None
    queue._clock.move(1.0)
    await settle(queue, 3)
    found = [(await queue.find(each)).settled for each in IDS[:4]]
    assert [each is not None for each in found] == [False, True, True, True]


async def test_an_asset_is_accepted_again_after_the_window_and_its_completions_are_counted_on(queue):
    await settle(queue, 0)
    queue._clock.move(DEDUPE_WINDOW)
    assert await put(queue, 0) == []
    queue._clock.move(1.0)
    assert await queue.put([submission(0)], events=[], intake="i", position=None, accepts_settled=False) == []
    [lease] = await settle(queue, 0)
    assert (lease.completion, (await queue.find(IDS[0])).settled.completion) == (2, 2)
    assert queue.outbox_depth() == 2


async def test_outcomes_are_counted_only_for_a_run_that_ends_by_itself(queue):
    await settle(queue, 0)
    assert await queue.finish() == {}
    await queue.begin(ends_by_itself=True)
    await settle(queue, 1, 2)
    await put(queue, 3, events=[event_of(None, 1, None)])
    [lease] = await queue.take(1)
    queue.drop(lease)
    assert (await queue.finish(), queue.pending_count()) == ({"ready": 2, "rejected": 1}, 0)
