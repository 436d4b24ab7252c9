"""The local engine call by call: what a transaction holds, what maintenance keeps and deletes, and how a run ends."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from asset_worker.domain.progress import Progress
from asset_worker.domain.submissions import Submission
from asset_worker.domain.transitions import Transition
from asset_worker.queue.dead_letters import Request
from asset_worker.queue.local.engine import LocalQueue, open_local_queue
from asset_worker.queue.local.journal import FILE_NAME, Journal, JournalError
from asset_worker.queue.local.request_files import RequestFiles
from asset_worker.queue.local.settled_rows import Settlement
from asset_worker.runtime.steady_time import Mark, Reading
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import (
    RETENTION,
    directory_in_memory,
    event_for,
    maintain,
    open_local,
    put,
    settle,
    submission,
)
from tests.doubles.threads import ClosingThread, HangingThread, InlineThread
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS
from tests.unit.queue.outbox_model import event_of

DAY = 86_400.0


@pytest.fixture
def path():
    with directory_in_memory() as directory:
        yield Path(directory) / FILE_NAME


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(path, clock):
    queue = open_local(path, clock)
    yield queue
    queue.crash()


def saved(queue):
    rows = queue.journal._execute("SELECT asset_id, progress FROM pending").fetchall()
    return {asset: progress and msgspec.json.decode(progress, type=Progress) for asset, progress in rows}


async def test_steady_time_goes_on_from_the_mark_in_the_journal(path, clock):
    journal = Journal(path)
    with journal.transaction():
        journal.set_clock_mark(Mark(5_000.0, Reading(clock.boot, clock.monotonic() - 7.0, clock.now())))
    journal.close()
    queue = open_local(path, clock)
    assert clock.steady() == 5_007.0
    await queue.begin(ends_by_itself=False)
    assert queue.journal.clock_mark() == clock.mark()
    queue.crash()


async def test_a_put_without_events_adds_none_and_one_with_events_wakes_the_sinks(queue):
    assert await put(queue, 0, position=b"1") == [submission(0)]
    assert (queue.outbox_depth(), queue.journal.intakes(), queue.journal.last_position()) == (0, {"i": b"1"}, 0)
    assert await put(queue, 0, 1, events=[event_of(None, 1)]) == [submission(1)]
    assert (queue.outbox_depth(), queue.journal.intakes(), queue.journal.last_position()) == (1, {"i": b"1"}, 1)


async def test_an_asset_is_accepted_again_after_the_window_unless_what_was_settled_is_a_repeat(queue, clock):
    await settle(queue, 0)
    clock.move(DEDUPE_WINDOW)
    assert await put(queue, 0) == []
    clock.move(1.0)
    assert await queue.put([submission(0)], events=[], intake="i", position=None, accepts_settled=False) == []
    assert await put(queue, 0) == [submission(0)]
    [lease] = await queue.take(1)
    assert lease.completion == 2


async def test_a_submission_takes_the_place_of_a_found_one_in_memory_and_on_the_disk(queue):
    await queue.put([Submission(IDS[0], "account", 0)], events=[], intake="i", position=None)
    assert await put(queue, 0) == [submission(0)]
    assert [row.submission for row in queue.journal.pending()] == [submission(0)]
    [lease] = await queue.take(1)
    assert lease.submission == submission(0)


async def test_a_step_is_in_the_outbox_with_its_progress_and_the_asset_is_due_again(queue, clock):
    await put(queue, 0)
    [lease] = await queue.take(1)
    await queue.defer(lease, 4.0, Progress(polls=1))
    clock.move(4.0)
    [lease] = await queue.take(1)
    step = event_of(IDS[0], 1, Transition.PLAYABLE)
    await queue.defer(lease, 5.0, Progress(polls=2), [step])
    assert saved(queue) == {IDS[0]: Progress(polls=2)}
    assert (queue.journal.events_after(0, 9), queue.outbox_depth()) == ([(1, step.id, step.body)], 1)
    await queue._save_progress()
    assert saved(queue) == {IDS[0]: Progress(polls=2)}, "the older progress is not saved after it"
    clock.move(5.0)
    [lease] = await queue.take(1)
    assert (lease.progress, lease.late) == (Progress(polls=2), 0.0)


async def test_a_settlement_is_stored_with_its_steps_before_its_event(queue, clock):
    await put(queue, 0)
    clock.move(3.0)
    [lease] = await queue.take(1)
    await queue.defer(lease, 0.0, Progress(polls=1))
    [lease] = await queue.take(1)
    step = event_of(IDS[0], 1, Transition.PLAYABLE)
    await queue.settle(lease, event_for(lease), steps=[step])
    assert [event_id for _, event_id, _ in queue.journal.events_after(0, 9)] == [step.id, f"{IDS[0]}.1"]
    now = clock.steady()
    assert queue.journal.settled.find(IDS[0]) == Settlement(IDS[0], 1, "ready", now - 3.0, now)
    assert (queue.pending_count(), queue.outbox_depth(), saved(queue)) == (0, 2, {})
    found = await queue.find(IDS[0])
    assert found.settled is not None
    assert (found.pending, found.settled.completion, found.settled.event) == (None, 1, None)


@pytest.mark.parametrize("keeps_events", [True, False, None])
async def test_the_event_of_the_last_completion_is_kept_only_if_that_is_asked_for(path, clock, keeps_events):
    options = {} if keeps_events is None else {"keeps_events": keeps_events}
    async with open_local_queue(
        path.parent,
        clock,
        sinks=["stdout"],
        dedupe_window=DEDUPE_WINDOW,
        dead_letter_retention=RETENTION,
        max_pending=9,
        first_looks=lambda count: [0.0] * count,
        **options,
    ) as queue:
        [lease] = await settle(queue, 0)
        found = await queue.find(IDS[0])
        assert found.settled is not None
        assert found.settled.event == (event_for(lease).body if keeps_events else None)


@pytest.mark.virtual_time
@pytest.mark.parametrize("keeps_events", [True, False])
@pytest.mark.parametrize(("window", "days", "event_days"), [(60.0, 7.0, 1.0), (2 * DAY, 14.0, 2.0)])
async def test_settlements_are_kept_for_seven_windows_and_events_for_one_but_a_week_and_a_day_at_least(
    path, clock, window, days, event_days, keeps_events
):
    queue = open_local(path, clock, window=window, keeps_events=keeps_events)
    now = clock.steady()
    with queue.journal.transaction():
        for number, age in enumerate((days * DAY, days * DAY + 1)):
            queue.journal.settle(Settlement(IDS[number], 1, "ready", 0.0, now - age))
        for number, age in enumerate((0.0, event_days * DAY, event_days * DAY + 1), start=2):
            queue.journal.settle(Settlement(IDS[number], 1, "ready", 0.0, now - age), b"{}")
        queue.journal.settled.events.keep(IDS[7], completion=1, at=now - 1.0, body=b"{}")
    await maintain(queue)
    find = queue.journal.settled
    assert [find.find(each) is not None for each in IDS[:5]] == [True, False, True, True, True]
    kept = [find.events.find(each, completion=1) is not None for each in IDS[2:5]]
    assert kept == ([True, True, False] if keeps_events else [True, False, False])
    assert (find.events.find(IDS[7], completion=1) is not None) == keeps_events
    queue.crash()


@pytest.mark.virtual_time
async def test_dead_letters_are_deleted_after_their_retention(path, clock):
    queue = open_local(path, clock, sinks=["hook"], independent=["hook"])
    await put(queue, events=[event_of("a", 1), event_of("b", 1)])
    now = clock.steady()
    await queue.outbox.take("hook", 9, now=now, until=now, without=(), wants=lambda _: True)
    for position, age in ((1, RETENTION), (2, RETENTION + 1)):
        await queue.outbox.dead_letter("hook", position, attempts=1, first_at=0.0, now=now - age, reason="why")
    with capture_logs() as logs:
        await maintain(queue)
    assert logs == [{"event": "dead_letters.pruned", "log_level": "warning", "count": 1, "kept_for": RETENTION}]
    assert queue.journal._execute("SELECT position FROM dead_letters").fetchall() == [(1,)]
    assert queue.dead_letters_by_sink() == {"hook": 1}
    queue.crash()


@pytest.mark.virtual_time
async def test_progress_is_saved_every_second_and_a_mark_of_the_clock_with_it_or_every_minute(queue, clock):
    await put(queue, 0)
    await queue.begin(ends_by_itself=False)
    working = asyncio.ensure_future(queue.run_maintenance())
    [lease] = await queue.take(1)
    await asyncio.sleep(0.5)
    await queue.defer(lease, 60.0, Progress(polls=1))
    await asyncio.sleep(0.4)
    assert saved(queue) == {IDS[0]: None}
    clock.move(1.0)
    await asyncio.sleep(0.2)
    first = queue.journal.clock_mark()
    assert (saved(queue), first) == ({IDS[0]: Progress(polls=1)}, clock.mark())
    for seconds, is_new in ((59.9, False), (0.1, True)):
        clock.move(seconds)
        await asyncio.sleep(1.0)
        assert (queue.journal.clock_mark() == clock.mark()) == is_new
    working.cancel()
    await asyncio.wait([working])


@pytest.mark.virtual_time
async def test_an_error_of_maintenance_ends_all_of_it(queue, path):
    others = asyncio.all_tasks()
    working = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(0.1)
    path.rename(path.with_name("moved"))
    with pytest.raises(JournalError, match="was moved, deleted or replaced"):
        await working
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == others


@pytest.mark.parametrize("is_complete", [True, False], ids=["complete", "an event is owed"])
async def test_the_counts_of_a_run_go_on_in_the_next_one_unless_it_is_complete(path, clock, is_complete):
    queue = open_local(path, clock)
    await queue.begin(ends_by_itself=True)
    await settle(queue, 0, 1)
    if is_complete:
        await queue.outbox.advance("stdout", 2, None)
    assert await queue.finish() == {"ready": 2}
    assert queue.journal.tally() == ({} if is_complete else {"ready": 2})
    await queue.close()


async def test_the_counts_go_on_while_an_asset_is_pending(queue):
    await queue.begin(ends_by_itself=True)
    await settle(queue, 0)
    await queue.outbox.advance("stdout", 1, None)
    await put(queue, 1)
    assert await queue.finish() == {"ready": 1}
    assert queue.journal.tally() == {"ready": 1}


async def test_a_close_saves_progress_and_closes_the_thread(path, clock):
    thread = ClosingThread()
    queue = open_local(path, clock, thread=thread)
    await put(queue, 0)
    [lease] = await queue.take(1)
    await queue.defer(lease, 60.0, Progress(polls=3))
    await queue.close()
    assert thread.closed
    again = open_local(path, clock)
    assert saved(again) == {IDS[0]: Progress(polls=3)}
    [lease] = await again.take(1)
    assert (lease.progress, lease.completion, again.intakes) == (Progress(polls=3), 1, {})
    again.crash()


async def test_instants_in_the_future_are_those_of_now_once_a_run_begins(path, clock):
    journal = Journal(path)
    future = clock.steady() + 100.0
    with journal.transaction():
        journal.accept([submission(0), submission(1)], at=future, window_start=0.0)
        journal.save_progress({IDS[0]: Progress(polls=1, ready_at=future)})
        journal._execute("UPDATE pending SET accepted_at = ? WHERE asset_id = ?", (clock.steady() - 5.0, IDS[1]))
    journal.close()
    queue = open_local(path, clock)
    now = clock.steady()
    assert (queue.oldest_age(), [lease.age for lease in await queue.take(9)]) == (5.0, [0.0, 5.0])
    await queue.begin(ends_by_itself=False)
    rows = {row.submission.asset_id: (row.accepted_at, row.progress) for row in queue.journal.pending()}
    assert rows == {IDS[0]: (now, Progress(polls=1, ready_at=now)), IDS[1]: (now - 5.0, None)}
    queue.crash()


async def test_an_acceptance_in_the_future_is_set_to_now_once_a_run_begins(path, clock):
    journal = Journal(path)
    with journal.transaction():
        journal.accept([submission(0)], at=clock.steady() + 100.0, window_start=0.0)
    journal.close()
    queue = open_local(path, clock)
    await queue.begin(ends_by_itself=False)
    assert [row.accepted_at for row in queue.journal.pending()] == [clock.steady()]
    queue.crash()


async def test_a_wall_clock_that_is_set_is_logged_and_kept_at_once_and_a_start_is_no_such_step(queue, clock):
    with capture_logs() as logs:
        await queue.begin(ends_by_itself=False)
    assert logs == []
    clock.wall += 5.0
    with capture_logs() as logs:
        await queue._save_progress()
    assert logs == [{"event": "clock.stepped", "log_level": "info", "seconds": 5.0}]
    assert queue.journal.clock_mark() == clock.mark()


@pytest.mark.virtual_time
async def test_requests_are_carried_out_within_a_quarter_of_a_second_and_old_answers_deleted_every_minute(queue, path):
    files, state = RequestFiles(path.parent), path.parent / "requests"
    files.write("0" * 32, Request("retry", all=True))
    stale = state / f"{1:032x}.answer.json"
    stale.write_text("{}")
    os.utime(stale, (0, 0))
    working = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(0.1)
    assert (files.read_answer("0" * 32) is not None, stale.exists()) == (True, False)
    files.write("2" * 32, Request("retry", all=True))
    await asyncio.sleep(0.1)
    assert files.read_answer("2" * 32) is None
    await asyncio.sleep(0.1)
    assert files.read_answer("2" * 32) is not None
    stale.write_text("{}")
    os.utime(stale, (0, 0))
    await asyncio.sleep(59.5)
    assert stale.exists()
    await asyncio.sleep(0.5)
    assert not stale.exists()
    working.cancel()
    await asyncio.wait([working])


@pytest.mark.virtual_time
async def test_what_is_old_is_deleted_every_minute_and_what_is_due_counted_every_second(queue, clock):
    await put(queue, events=[event_of("a", 1)])
    assert (queue.recent_due_count(), queue.outbox.oldest_at("stdout")) == (0, None)
    working = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(0.5)
    assert queue.outbox.oldest_at("stdout") == 0.0
    await put(queue, 0)
    with queue.journal.transaction():
        queue.journal.settle(Settlement(IDS[1], 1, "ready", 0.0, clock.steady() - 8 * DAY))
    assert queue.recent_due_count() == 0
    await asyncio.sleep(1.0)
    assert queue.recent_due_count() == 1
    await asyncio.sleep(58.0)
    assert queue.journal.settled.find(IDS[1]) is not None
    await asyncio.sleep(1.0)
    assert queue.journal.settled.find(IDS[1]) is None
    working.cancel()
    await asyncio.wait([working])


@pytest.mark.virtual_time
async def test_a_disk_that_hangs_holds_up_the_end_of_a_run_for_three_seconds_in_all(path, clock):
    queue = open_local(path, clock, thread=HangingThread())
    assert await queue.finish() is None
    await queue.close()
    assert asyncio.get_running_loop().time() == 3.0
    queue.crash()


async def test_the_queue_is_opened_in_a_thread_with_the_clock_of_the_event_loop_and_closed_at_the_end(path):
    threads = []

    class Clock(ManualClock):
        def monotonic(self):
            threads.append(threading.current_thread())
            return super().monotonic()

    clock = Clock()
    threads.clear()
    async with open_local_queue(
        path.parent,
        clock,
        sinks=["stdout"],
        dedupe_window=DEDUPE_WINDOW,
        dead_letter_retention=RETENTION,
        max_pending=9,
        first_looks=lambda count: [0.0] * count,
    ) as queue:
        assert threads[0] is threading.current_thread()
        assert threads[1] is not threading.current_thread()
        await put(queue, 0)
    assert [each.name for each in path.parent.iterdir()] == [FILE_NAME]


async def test_no_event_is_kept_unless_that_is_asked_for(path, clock):
    journal = Journal(path)
    queue = LocalQueue(
        journal,
        InlineThread(),
        clock,
        sinks=["stdout"],
        dedupe_window=DEDUPE_WINDOW,
        dead_letter_retention=RETENTION,
        max_pending=9,
        first_looks=lambda count: [0.0] * count,
    )
    await settle(queue, 0)
    assert journal.settled.events.find(IDS[0], completion=1) is None
    journal.close()
