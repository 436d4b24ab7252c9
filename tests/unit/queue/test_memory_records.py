"""The records of the outbox in memory: which events are kept, which wait for others, and which steps give way."""

from __future__ import annotations

import asyncio
from sys import getrefcount

import pytest

from asset_worker.domain.progress import Progress
from tests.doubles.local_queue import put, settle
from tests.unit.queue.conformance import IDS, turns
from tests.unit.queue.outbox_model import event_of
from tests.unit.queue.test_memory_outbox import DAY, HOOK, LATE_STEP, STEP, fail, filled, give_up, opened, take, taken


def kept(*events):
    """The IDs of those of the events that are in memory elsewhere, too."""
    [nowhere] = [getrefcount(event.body) for event in [event_of("x", 1)]]
    return [event.id for event in events if getrefcount(event.body) > nowhere]


@pytest.fixture
def queue():
    return opened(HOOK)


async def test_an_event_is_kept_until_the_last_sink_has_passed_it():
    events = [event_of(asset, 1) for asset in "abcd"]
    outbox = await filled(opened("a", "b"), *events)
    seen = []
    for sink, position in (("a", 2), ("b", 1), ("a", 4), ("b", 3), ("b", 4)):
        await outbox.advance(sink, position, None)
        seen.append(len(kept(*events)))
    assert seen == [4, 3, 3, 1, 0]


async def test_an_event_is_kept_until_the_last_record_of_it_is_gone():
    events = [event_of("a", 1), event_of("b", 1)]
    outbox = await filled(opened(HOOK, "other"), *events)
    for sink in (HOOK, "other"):
        await outbox.take(sink, 9, now=5.0, until=5.0, without=(), wants=lambda _: True)
    assert kept(*events) == ["a.1", "b.1"]
    await outbox.delivered(HOOK, 1, now=5.0)
    assert (kept(*events), outbox.oldest_at("other")) == (["a.1", "b.1"], 0.0)
    await outbox.delivered("other", 1, now=5.0)
    assert kept(*events) == ["b.1"]
    for sink in (HOOK, "other"):
        await outbox.delivered(sink, 2, now=5.0)
    assert kept(*events) == []


async def test_the_only_sink_leaves_nothing_in_memory(queue):
    events = [event_of("a", 1), event_of("b", 1)]
    outbox = await filled(queue, *events)
    await outbox.advance(HOOK, 2, None)
    assert kept(*events) == []


async def test_an_event_that_is_delivered_is_kept_for_a_sink_that_has_not_passed_it():
    queue = opened(HOOK, "file")
    outbox = await filled(queue, event_of("a", 1), event_of("b", 1))
    await taken(queue)
    for position in (1, 2):
        await outbox.delivered(HOOK, position, now=5.0)
    assert [event.id for event in await outbox.read("file", 9)] == ["a.1", "b.1"]
    assert outbox.oldest_at("file") == 0.0


@pytest.mark.virtual_time
async def test_a_sink_waits_until_there_is_something_to_send(queue):
    waiting = asyncio.ensure_future(queue.outbox.wait(HOOK))
    await turns(3)
    assert not waiting.done()
    await put(queue, events=[event_of("a", 1)])
    async with asyncio.timeout(1):
        await waiting
    assert queue.outbox.oldest_at(HOOK) == 0.0


async def test_the_next_is_due_when_the_first_is_that_is_not_being_sent(queue):
    await filled(queue, event_of("a", 1), event_of("b", 1))
    assert await taken(queue, now=5.0, until=4.0) == [1, 2], "what is new is due now"
    await fail(queue, 1, next_at=9.0)
    await fail(queue, 2, next_at=8.0)
    found = [(await take(queue, without=without)).next_at for without in ((), [2], [1, 2])]
    assert found == [8.0, 9.0, None]


async def test_of_an_asset_the_first_event_is_due_once_the_one_before_is_delivered(queue):
    await filled(queue, event_of("a", 1))
    await taken(queue)
    await fail(queue, 1)
    await put(queue, events=[event_of("a", 2), event_of("a", 3), event_of(None, 1), event_of(None, 2)])
    assert await taken(queue) == [4, 5], "what is about no asset waits for nothing"
    await queue.outbox.delivered(HOOK, 1, now=50.0)
    assert [await taken(queue, now=now, without=[4, 5]) for now in (49.0, 50.0)] == [[], [2]]


async def test_a_completion_supersedes_the_steps_that_wait_for_a_retry_and_those_that_are_not_being_sent(queue):
    steps = [event_of("a", number, STEP) for number in (1, 2, 3, 4)]
    await filled(queue, *steps, event_of("b", 1, STEP))
    await taken(queue, transitions=9)
    await fail(queue, 5)
    await fail(queue, 1)
    await put(queue, events=[event_of("a", 4)])
    found = await take(queue, without=[1, 2])
    assert (found.superseded, found.holding_up) == (("a.1.playable", "a.3.playable", "a.4.playable"), (2,))
    assert (queue.dead_letters_by_sink(), queue.outbox.owed(HOOK)) == ({HOOK: 3}, 3)


async def test_a_completion_follows_its_step_that_is_due(queue):
    await filled(queue, event_of("a", 1, STEP))
    await taken(queue, transitions=9)
    await fail(queue, 1, next_at=5.0)
    await put(queue, events=[event_of("a", 1)])
    found = await take(queue)
    assert ([owed.event.position for owed in found.events], found.superseded, found.holding_up) == ([1], (), (1,))


async def test_a_completion_follows_a_step_that_was_never_sent_as_it_waits_for_another(queue):
    await filled(queue, *(event_of("a", number, STEP) for number in (1, 2, 3)))
    await taken(queue, transitions=9)
    await fail(queue, 1)
    await give_up(queue, 1)
    await put(queue, events=[event_of("a", 3)])
    found = await take(queue)
    assert (found.superseded, found.holding_up) == ((), (2, 3))


async def test_neither_a_completion_nor_a_step_of_an_asset_supersedes_what_is_no_step_of_its_wait(queue):
    await filled(queue, event_of("a", 1), event_of("b", 1, STEP), event_of("c", 1, STEP))
    await taken(queue, transitions=9)
    for position in (1, 2, 3):
        await fail(queue, position)
    await put(queue, events=[event_of("a", 2), event_of("b", 1, LATE_STEP), event_of(None, 1), event_of("d", 1)])
    found = await take(queue)
    assert ([owed.event.position for owed in found.events], found.superseded, found.holding_up) == ([6, 7], (), ())


async def test_a_step_of_the_next_wait_holds_up_no_completion_before_it(queue):
    await filled(queue, event_of("a", 1), event_of("a", 2, STEP))
    found = await take(queue, transitions=9)
    assert ([owed.event.position for owed in found.events], found.holding_up) == ([1], ())
    await queue.outbox.delivered(HOOK, 1, now=5.0)
    assert await taken(queue, transitions=9) == [2]
    assert await fail(queue, 2) == ()


async def test_a_step_that_holds_up_a_completion_takes_the_place_of_one_that_does_not(queue):
    await filled(queue, event_of("a", 1, STEP))
    assert await taken(queue) == []
    await put(queue, events=[event_of("a", 1), event_of("b", 1, STEP)])
    assert await taken(queue, 1, transitions=9) == [1]


async def test_a_step_is_in_the_outbox_and_its_asset_is_due_again(queue):
    await put(queue, 0)
    [lease] = await queue.take(1)
    await queue.defer(lease, 3.0, Progress(polls=1), [event_of(IDS[0], 1, STEP)])
    assert queue.outbox_depth() == 1
    queue._clock.move(3.0)
    [lease] = await queue.take(1)
    assert (lease.progress, lease.late) == (Progress(polls=1), 0.0)


async def test_an_asset_that_was_settled_again_keeps_no_other_settlement_in_memory(queue):
    await settle(queue, 0)
    await settle(queue, 1)
    queue._clock.move(200.0)
    await settle(queue, 0)
    queue._clock.move(7 * DAY - 100.0)
    await settle(queue, 2)
    assert [(await queue.find(each)).settled is not None for each in IDS[:3]] == [True, False, True]
