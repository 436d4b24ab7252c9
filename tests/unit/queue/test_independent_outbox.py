"""The outbox as independent sinks use it: transactions, cancelled calls, dead letters that are put back, damage."""

from __future__ import annotations

import asyncio

import pytest

from asset_worker.domain.deliveries import Condition, Taken
from asset_worker.queue.dead_letters import Request
from asset_worker.queue.local import outbox as local_outbox
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.request_files import RequestFiles
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import open_local, put
from tests.doubles.threads import SuspendingThread
from tests.unit.queue.conformance import DEDUPE_WINDOW, turns
from tests.unit.queue.outbox_model import (
    event_of,
    wants_all,
)


@pytest.fixture
async def queue(tmp_path):
    queue = open_local(
        tmp_path / FILE_NAME, ManualClock(), thread=SuspendingThread(), sinks=["hook"], independent=["hook"]
    )
    await queue.begin(ends_by_itself=False)
    return queue


def take(queue, limit=3, *, wants=wants_all, without=(), until=5.0):
    return queue.outbox.take("hook", limit, now=5.0, until=until, without=without, wants=wants)


def positions(taken):
    return [owed.event.position for owed in taken.events]


async def test_events_that_are_not_wanted_are_passed_in_several_transactions(queue, monkeypatch):
    """Other writers need not wait until all of them are passed."""
    monkeypatch.setattr(local_outbox, "EXAMINED_EVENTS", 10)
    await put(queue, events=[event_of("a", number) for number in range(1, 96)])
    taking = asyncio.ensure_future(take(queue, wants=lambda event: event.position > 93))
    written_at = []
    while not taking.done():
        await queue.outbox.set_condition("hook", None)
        written_at.append(queue.outbox.owed("hook"))
    assert positions(await taking) == [94]  # the other one is of the same asset
    assert len(set(written_at)) > 5
    assert queue.outbox.owed("hook") == 2
    assert [position for position, *_ in queue.journal.events_after(0, 99)] == [94, 95]


async def test_no_event_is_left_that_was_claimed_while_it_was_added(queue):
    """A transaction that adds it may be durable before the queue in memory knows of it."""
    await put(queue, events=[event_of("a", 1)])
    with queue.journal.transaction():
        queue.journal.add_events([event_of("b", 1)])
    for position in positions(await take(queue, 9)):
        await queue.outbox.delivered("hook", position, now=5.0)
    assert queue.journal.events_after(0, 9) == []


async def test_no_event_is_left_that_two_sinks_pass_at_once(tmp_path):
    sinks = ["file", "stdout"]
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), thread=SuspendingThread(), sinks=sinks)
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[event_of("a", 1), event_of("b", 1)])
    await asyncio.gather(*(queue.outbox.advance(sink, 2, None) for sink in sinks))
    assert queue.journal.events_after(0, 9) == []


async def test_a_new_event_is_due_no_sooner_than_the_one_of_its_asset_that_failed(queue):
    """A take does not look at it again and again."""
    await put(queue, events=[event_of("a", 1)])
    await take(queue)
    await queue.outbox.failed("hook", 1, attempts=1, first_at=5.0, now=5.0, next_at=99.0, error="why")
    await put(queue, events=[event_of("a", 2)])
    assert await take(queue) == Taken([], 99.0)
    assert queue.journal._execute("SELECT next_at FROM undelivered").fetchall() == [(99.0,), (99.0,)]
    await queue.outbox.make_all_due("hook", now=5.0)
    assert queue.journal._execute("SELECT next_at FROM undelivered").fetchall() == [(5.0,), (99.0,)]


async def test_no_event_is_left_of_a_webhook_that_was_dropped(tmp_path):
    """Nothing else needs those of which it had a record."""
    path, clock = tmp_path / FILE_NAME, ManualClock()
    queue = open_local(path, clock, sinks=["hook"], independent=["hook"])
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[event_of("a", 1), event_of("b", 1)])
    await take(queue)
    await queue.close()
    queue = open_local(path, clock, sinks=["file"])
    await queue.begin(ends_by_itself=False)
    assert [event_id for _, event_id, _ in queue.journal.events_after(0, 9)] == ["a.1", "b.1"]
    clock.move(DEDUPE_WINDOW)
    await queue.outbox.drop_expired(clock.steady())
    assert queue.journal.events_after(0, 9) == []


async def test_an_event_stays_until_the_last_webhook_has_it(tmp_path):
    hooks = ["hook", "other"]
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), sinks=hooks, independent=hooks)
    await queue.begin(ends_by_itself=False)
    await put(queue, events=[event_of("a", 1)])
    for sink in hooks:
        await queue.outbox.take(sink, 9, now=5.0, until=5.0, without=(), wants=wants_all)
    kept = []
    for sink in hooks:
        await queue.outbox.delivered(sink, 1, now=5.0)
        kept.append(len(queue.journal.events_after(0, 9)))
    assert kept == [1, 0]


async def test_all_become_due_in_several_transactions(queue, monkeypatch):
    monkeypatch.setattr(local_outbox, "CHANGED_RECORDS", 3)
    await put(queue, events=[event_of(f"a{number}", 1) for number in range(10)])
    for position in positions(await take(queue, 10)):
        await queue.outbox.failed("hook", position, attempts=1, first_at=5.0, now=5.0, next_at=99.0, error="why")
    assert await take(queue, 10) == Taken([], 99.0)
    await queue.outbox.make_all_due("hook", now=5.0)
    assert positions(await take(queue, 10)) == list(range(1, 11))


async def test_a_take_gives_records_to_no_more_events_than_it_returns(queue):
    """The others need none while they come after the sink's position."""
    await put(queue, events=[event_of(f"a{number}", 1) for number in range(5)])
    assert positions(await take(queue, 2)) == [1, 2]
    assert (queue.outbox.position("hook"), queue.journal.undelivered.count("hook")) == (2, 2)
    assert queue.outbox.owed("hook") == 5


@pytest.mark.parametrize("count", range(6))
async def test_a_take_that_is_cancelled_loses_and_repeats_no_event(queue, count):
    """What it has recorded is due."""
    await put(queue, events=[event_of(f"a{number}", 1) for number in range(5)])
    taking = asyncio.ensure_future(take(queue))
    await turns(count)
    taking.cancel()
    first = positions(await take(queue, 9))
    assert sorted(first + positions(await take(queue, 9, without=first))) == [1, 2, 3, 4, 5]
    await asyncio.gather(taking, return_exceptions=True)
    assert queue.outbox.owed("hook") == 5


@pytest.mark.parametrize("count", range(6))
async def test_a_delivery_that_is_cancelled_is_counted_if_it_was_recorded(queue, count):
    await put(queue, events=[event_of("a", 1)])
    await take(queue)
    recording = asyncio.ensure_future(queue.outbox.delivered("hook", 1, now=5.0))
    await turns(count)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    await queue.outbox.set_condition("hook", None)
    left = queue.journal.undelivered.count("hook")
    assert (queue.outbox.owed("hook"), len(queue.journal.events_after(0, 9))) == (left, left)


async def test_an_event_that_was_put_back_is_not_sent_while_a_later_one_of_its_asset_is(queue):
    await put(queue, events=[event_of("a", 1), event_of("a", 2)])
    await take(queue)
    await queue.outbox.dead_letter("hook", 1, attempts=9, first_at=1.0, now=5.0, reason="why")
    assert positions(await take(queue)) == [2]
    RequestFiles(queue.journal.path.parent).write("0" * 32, Request("retry", all=True))
    await queue._requests.serve()
    later = queue._clock.steady()
    assert positions(await take(queue, without=[2], until=later)) == []
    await queue.outbox.failed("hook", 2, attempts=1, first_at=5.0, now=5.0, next_at=5.0, error="why")
    assert positions(await take(queue, until=later)) == [1]


async def test_an_event_that_is_damaged_is_sent_without_regard_to_order(queue):
    await put(queue, events=[event_of("a", 1), event_of("a", 2)])
    with queue.journal.transaction():
        queue.journal._execute("UPDATE outbox SET body = x'7b' WHERE position = 2")
    assert [(owed.event.position, owed.asset_id) for owed in (await take(queue)).events] == [(1, "a"), (2, None)]


async def test_a_start_ends_every_condition_but_that_a_sink_of_the_run_is_down(tmp_path):
    """A paused sink is resumed. A kind that this version does not know is no reason not to start."""
    queue = open_local(tmp_path / FILE_NAME, ManualClock(), sinks=["down", "paused", "newer"])
    for sink, kind in (("down", "down"), ("paused", "paused"), ("newer", "???"), ("absent", "down")):
        queue.journal._execute("INSERT INTO conditions VALUES (?, ?, 5.0, 'why')", (sink, kind))
    await queue.begin(ends_by_itself=False)
    assert queue.journal.conditions() == {"down": Condition("down", 5.0, "why")}
    assert await queue.outbox.condition("down") == Condition("down", 5.0, "why")
    assert await queue.outbox.condition("paused") is None
    await queue.close()
