"""The journal's outbox call by call: what a start records, what is taken, counted, put back and dropped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.deliveries import Condition, Taken
from asset_worker.domain.transitions import Transition
from asset_worker.queue.absent_sinks import SinkState
from asset_worker.queue.local import outbox as local_outbox
from asset_worker.queue.local.journal import FILE_NAME, Journal
from asset_worker.queue.outbox_readers import TRACES
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import directory_in_memory, open_local, put
from tests.unit.queue.conformance import DEDUPE_WINDOW, turns
from tests.unit.queue.outbox_model import event_of, wants_all

HOOK, STEP = "hook", Transition.PLAYABLE


@pytest.fixture
def path():
    with directory_in_memory() as directory:
        yield Path(directory) / FILE_NAME


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(path, clock):
    queue = open_local(path, clock, sinks=[HOOK], independent=[HOOK])
    yield queue
    queue.crash()


async def filled(queue, *events):
    await put(queue, events=events)
    return queue.outbox


def take(queue, limit=9, *, without=(), wants=wants_all, now=5.0, **more):
    return queue.outbox.take(HOOK, limit, now=now, until=now, without=without, wants=wants, **more)


async def taken(queue, *args, **more):
    return [owed.event.position for owed in (await take(queue, *args, **more)).events]


def fail(queue, position, *, next_at=99.0):
    return queue.outbox.failed(HOOK, position, attempts=1, first_at=5.0, now=5.0, next_at=next_at, error="HTTP 500")


def give_up(queue, position):
    return queue.outbox.dead_letter(HOOK, position, attempts=9, first_at=1.0, now=5.0, reason="HTTP 500")


def at_start(path, clock, sinks, states, events=(), records=(), window=DEDUPE_WINDOW):
    """A queue that finds these states of sinks, these events, and records of the sink `HOOK` for these positions."""
    journal = Journal(path)
    with journal.transaction():
        journal.add_events(events)
        for name, state in states.items():
            journal.set_sink(name, state)
        for position in records:
            journal._execute(f"INSERT INTO undelivered VALUES ('{HOOK}', {position}, NULL, 0, NULL, 1.0, NULL, 0)")
    journal.close()
    return open_local(path, clock, sinks=sinks, window=window)


async def begun(queue):
    with capture_logs() as lines:
        await queue.begin(ends_by_itself=False)
    return [tuple(line.get(name) for name in ("event", "sink", "events", "kept_for")) for line in lines]


# A start


async def test_a_start_records_the_sinks_and_since_when_others_are_absent(path, clock):
    events = [event_of(f"a{number}", 1) for number in range(3)]
    states = {"a": SinkState(3, b"c"), "b": SinkState(1), "c": SinkState(3)}
    queue = at_start(path, clock, ["a", "new"], states, events)
    queue.journal.set_condition("a", Condition("paused", 1.0, "why"))
    assert await begun(queue) == [("sink.absent", "b", 2, round(DEDUPE_WINDOW))]
    now = clock.steady()
    assert queue.journal.sinks() == {
        "a": SinkState(3, b"c"),
        "b": SinkState(1, absent_since=now),
        "c": SinkState(3, absent_since=now, is_released=True),
        "new": SinkState(0),
    }
    assert queue.journal.conditions() == {}
    queue.crash()


@pytest.mark.parametrize(
    ("age", "logs"),
    [
        (DEDUPE_WINDOW - 0.6, [("sink.absent", HOOK, 2, 1)]),
        (DEDUPE_WINDOW, [("sink.dropped", HOOK, 2, None)]),
        (DEDUPE_WINDOW + 1, [("sink.dropped", HOOK, 2, None)]),
    ],
)
async def test_the_events_of_an_absent_sink_are_dropped_when_its_time_is_over(path, clock, age, logs):
    """One that has a record, and one after its position."""
    states = {"a": SinkState(2), HOOK: SinkState(1, absent_since=clock.steady() - age)}
    queue = at_start(path, clock, ["a"], states, [event_of("a", 1), event_of("b", 1)], [1])
    assert await begun(queue) == logs
    is_dropped = logs[0][0] == "sink.dropped"
    assert len(queue.journal.events_after(0, 9)) == (0 if is_dropped else 2)
    with capture_logs() as lines:
        await queue.outbox.drop_expired(clock.steady())
    assert lines == []
    assert queue.journal.sinks()[HOOK] == SinkState(1, absent_since=clock.steady() - age, is_released=is_dropped)
    queue.crash()


async def test_what_was_kept_for_a_reader_alone_is_deleted_at_a_start_without_it(path, clock):
    states = {"a": SinkState(2), TRACES: SinkState(0)}
    queue = at_start(path, clock, ["a"], states, [event_of("a", 1), event_of("b", 1), event_of("c", 1)])
    assert await begun(queue) == []
    assert [position for position, *_ in queue.journal.events_after(0, 9)] == [3]
    queue.crash()


# Ordered sinks and readers


async def test_a_sink_reads_what_it_lacks_and_goes_on_after_what_it_has(queue):
    outbox = await filled(queue, *(event_of(asset, 1) for asset in "abc"))
    assert [event.position for event in await outbox.read(HOOK, 2)] == [1, 2]
    assert (outbox.owed(HOOK), outbox.depth(), outbox.position(HOOK)) == (3, 3, 0)
    await outbox.advance(HOOK, 2, b"mark")
    assert [event.id for event in await outbox.read(HOOK, 9)] == ["c.1"]
    assert (await outbox.checkpoint(HOOK), outbox.position(HOOK), outbox.owed(HOOK)) == (b"mark", 2, 1)
    await outbox.advance(HOOK, 3, None)
    assert (await outbox.read(HOOK, 9), await outbox.checkpoint(HOOK), outbox.depth()) == ([], None, 0)


async def test_a_reader_that_is_too_far_behind_is_moved_on(path, clock):
    queue = open_local(path, clock, sinks=["a", TRACES])
    outbox = await filled(queue, *(event_of(asset, 1) for asset in "abcd"))
    assert [await outbox.move_on(TRACES, keep=keep) for keep in (5, 4, 3, 1, 1, 0)] == [0, 0, 1, 2, 0, 1]
    assert (outbox.position(TRACES), outbox.owed(TRACES), outbox.depth()) == (4, 0, 4)
    queue.crash()


async def test_the_oldest_event_is_looked_up_for_each_sink_that_lacks_one(path, clock):
    queue = open_local(path, clock, sinks=["a", "b"])
    outbox = await filled(queue, event_of("a", 1), event_of("b", 1))
    assert outbox.oldest_at("a") is None, "nobody has looked yet"
    await outbox.look_for_oldest()
    assert (outbox.oldest_at("a"), outbox.oldest_at("b")) == (0.0, 0.0)
    await outbox.advance("a", 2, None)
    assert (outbox.oldest_at("a"), outbox.oldest_at("b")) == (None, 0.0)
    await outbox.advance("b", 2, None)
    await outbox.look_for_oldest()
    await put(queue, events=[event_of("c", 1)])
    assert outbox.oldest_at("b") is None
    queue.crash()


# Independent sinks


async def test_no_more_are_taken_than_asked_for_what_failed_before_what_is_new(queue):
    await filled(queue, *(event_of(asset, 1) for asset in "abcdef"))
    assert await taken(queue, 1) == [1]
    await fail(queue, 1, next_at=5.0)
    assert await taken(queue, 3) == [1, 2, 3]
    assert queue.outbox.position(HOOK) == 3
    assert await taken(queue, 3, without=[1, 2]) == [3, 4, 5]
    assert await take(queue, 2, without=[1, 2, 3, 4, 5], wants=lambda _: False) == Taken([], None)
    assert (queue.outbox.position(HOOK), queue.outbox.owed(HOOK)) == (6, 5)


async def test_steps_are_taken_only_as_far_as_there_is_a_place_for_them(queue):
    await filled(queue, event_of("a", 1, STEP), event_of("b", 1, STEP), event_of("c", 1))
    assert await taken(queue, 9) == [3]
    assert await taken(queue, 9, without=[3], transitions=1) == [1]
    assert await taken(queue, 2, transitions=9) == [3, 1]


@pytest.mark.parametrize(("limit", "positions"), [(1, [2]), (2, [2, 1]), (3, [2, 1])])
async def test_a_new_step_is_taken_in_a_place_that_is_left_by_what_is_no_step(queue, limit, positions):
    await filled(queue, event_of("a", 1, STEP), event_of("b", 1))
    assert await taken(queue, limit, transitions=9) == positions


async def test_a_completion_that_comes_takes_the_place_of_a_step_that_waits(queue):
    await filled(queue, event_of("a", 1, STEP), event_of("b", 1, STEP))
    assert await taken(queue, transitions=9) == [1, 2]
    await fail(queue, 1)
    assert await take(queue, without=[2], transitions=9) == Taken([], 99.0)
    await put(queue, events=[event_of("a", 1), event_of("b", 1)])
    found = await take(queue, without=[2], transitions=9)
    assert (found.superseded, found.holding_up) == (("a.1.playable",), (2,))
    assert [owed.event.id for owed in found.events] == ["a.1"]
    assert (queue.outbox.dead_letters, queue.outbox.owed(HOOK)) == ({HOOK: 1}, 3)
    again = await take(queue, 9)
    assert ([owed.event.id for owed in again.events], again.holding_up) == (["b.1.playable", "a.1"], (2,))


async def test_what_is_delivered_failed_and_given_up_is_counted(queue):
    outbox = await filled(queue, *(event_of(asset, 1) for asset in "abc"))
    await taken(queue)
    await outbox.delivered(HOOK, 1, now=5.0)
    await outbox.delivered(HOOK, 1, now=5.0)
    assert outbox.owed(HOOK) == 2
    assert await fail(queue, 2) == ()
    assert (outbox.owed(HOOK), outbox.dead_letters[HOOK]) == (2, 0)
    assert await give_up(queue, 3) == ()
    assert await give_up(queue, 3) == ()
    assert (outbox.owed(HOOK), outbox.dead_letters) == (1, {HOOK: 1})
    assert [position for position, *_ in queue.journal.events_after(0, 9)] == [2]


async def test_a_dead_letter_counts_among_the_outcomes_of_a_run_that_ends_by_itself_and_a_superseded_step_does_not(
    queue,
):
    await queue.begin(ends_by_itself=True)
    await filled(queue, event_of("a", 1, STEP), event_of("a", 1), event_of("b", 1, STEP), event_of("b", 1))
    await taken(queue, transitions=9)
    assert await give_up(queue, 1) == ("a.1.playable",)
    assert await fail(queue, 3) == ("b.1.playable",)
    assert queue.journal.tally() == {"ready": 2}
    await give_up(queue, 2)
    assert queue.journal.tally() == {"ready": 2, "dead_letter": 1}
    assert (queue.outbox.dead_letters, queue.outbox.owed(HOOK)) == ({HOOK: 3}, 1)


async def test_all_that_failed_are_due_at_once_in_pieces(queue, monkeypatch):
    monkeypatch.setattr(local_outbox, "CHANGED_RECORDS", 2)
    await filled(queue, *(event_of(asset, 1) for asset in "abcde"))
    for position in await taken(queue):
        await fail(queue, position)
    assert await taken(queue) == []
    await queue.outbox.make_all_due(HOOK, now=5.0)
    assert await taken(queue) == [1, 2, 3, 4, 5]


async def test_dead_letters_are_pruned_in_pieces_and_counted_anew(queue, monkeypatch):
    monkeypatch.setattr(local_outbox, "PRUNED_DEAD_LETTERS", 2)
    await filled(queue, *(event_of(asset, 1) for asset in "abcde"))
    await taken(queue)
    for position in (1, 2, 3):
        await give_up(queue, position)
    assert await queue.outbox.prune_dead_letters(before=5.0) == 0
    assert queue.outbox.dead_letters == {HOOK: 3}
    await queue.outbox.dead_letter(HOOK, 4, attempts=9, first_at=1.0, now=6.0, reason="HTTP 500")
    assert await queue.outbox.prune_dead_letters(before=6.0) == 3
    assert queue.outbox.dead_letters == {HOOK: 1}
    assert await queue.outbox.prune_dead_letters(before=7.0) == 1
    assert queue.outbox.dead_letters == {}


@pytest.mark.virtual_time
async def test_a_sink_waits_until_there_is_something_to_send(queue):
    waiting = asyncio.ensure_future(queue.outbox.wait(HOOK))
    await turns(3)
    assert not waiting.done()
    await put(queue, events=[event_of("a", 1)])
    async with asyncio.timeout(1):
        await waiting


@pytest.mark.virtual_time
async def test_a_request_for_a_retry_ends_one_wait_and_counts_what_is_put_back(queue):
    outbox = await filled(queue, event_of("a", 1))
    await taken(queue)
    await give_up(queue, 1)
    waiting = asyncio.ensure_future(outbox.wait_for_retry(HOOK))
    await turns(3)
    outbox.count_request({HOOK: 1}, is_retry=False)
    await turns(3)
    assert (waiting.done(), outbox.dead_letters[HOOK], outbox.owed(HOOK)) == (False, 0, 0)
    outbox.count_request({HOOK: 2}, is_retry=True)
    await turns(3)
    assert (waiting.done(), outbox.dead_letters[HOOK], outbox.owed(HOOK)) == (True, -2, 2)
    outbox.ask_for_retry(HOOK)
    await outbox.wait_for_retry(HOOK)
    waiting = asyncio.ensure_future(outbox.wait_for_retry(HOOK))
    await turns(3)
    assert not waiting.done()
    waiting.cancel()


async def test_the_condition_of_a_sink_is_kept_until_it_works(queue):
    down = Condition("down", 5.0, "why")
    await queue.outbox.set_condition(HOOK, down)
    assert await queue.outbox.condition(HOOK) == down
    await queue.outbox.set_condition(HOOK, None)
    assert await queue.outbox.condition(HOOK) is None
