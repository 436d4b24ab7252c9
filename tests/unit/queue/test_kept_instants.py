"""The instants that the local engine keeps: neither a wall clock that is set nor a restart makes them older or younger.

`start_again` is another process on the same clocks; `boot` is another start of the machine before that.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from asset_worker.domain.progress import Progress
from asset_worker.queue.commits import RETRY_SECONDS
from asset_worker.queue.local.engine import MARK_EVERY_SECONDS, PROGRESS_EVERY_SECONDS
from asset_worker.queue.local.journal import FILE_NAME
from asset_worker.queue.local.status_report import read_status
from tests.doubles.clocks import LoopClock, ManualClock
from tests.doubles.local_queue import RETENTION, maintain, open_local, put, settle
from tests.unit.queue.conformance import DEDUPE_WINDOW, IDS

HOUR = 3600.0
YEAR = 365 * 86400.0
NOW = 1_795_727_780.0
"""A wall clock that is right."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE_NAME


async def opened(path, clock):
    queue = open_local(path, clock)
    await queue.begin(ends_by_itself=False)
    return queue


async def start_again(queue, path, clock):
    await queue.close()
    return await opened(path, clock)


def boot(clock, *, wall):
    """The machine was off; now it is up, and its wall clock shows `wall`."""
    clock.boot += "+"
    clock.mono = 30.0
    clock.wall = wall


def rows(path, table):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def age_in(path, clock):
    """The age that `status` shows, which is another process: it has the same clocks."""
    reader = ManualClock(clock.wall)
    reader.mono, reader.suspended, reader.boot = clock.mono, clock.suspended, clock.boot
    report = read_status(path.parent, clock=reader, limit=9)
    assert report.oldest_age == report.pending[0].age
    return report.oldest_age


@pytest.mark.virtual_time
@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR, YEAR, -50 * YEAR])
async def test_a_wall_clock_that_is_set_changes_one_offset_and_no_row(path, step):
    clock = ManualClock(NOW)
    queue = await opened(path, clock)
    await settle(queue, 2)
    await put(queue, 0, 1)
    [lease] = await queue.take(1)
    await queue.defer(lease, 0.0, Progress(polls=1, ready_at=clock.steady(), missing_at=clock.steady()))
    await maintain(queue)
    before = {table: rows(path, table) for table in ("pending", "settled", "clock")}
    clock.wall += step
    clock.move(7.0)
    with capture_logs() as logs:
        await maintain(queue)
    assert logs == [{"event": "clock.stepped", "log_level": "info", "seconds": step}]
    assert [rows(path, table) for table in ("pending", "settled")] == [before["pending"], before["settled"]]
    [[*mark, wall]], [[*mark_before, wall_before]] = rows(path, "clock"), before["clock"]
    assert (mark[1] - mark_before[1], wall - wall_before) == (7.0, step + 7.0)
    assert (queue.oldest_age(), age_in(path, clock)) == (7.0, 7.0)
    queue = await start_again(queue, path, clock)
    leases = {lease.submission.asset_id: lease for lease in await queue.take(9)}
    assert [leases[IDS[number]].age for number in (0, 1)] == [7.0, 7.0]
    assert (leases[IDS[0]].ready_age, leases[IDS[0]].missing_age) == (7.0, 7.0)
    assert await put(queue, 2) == [], "it is still a repeat"
    await queue.close()


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
async def test_a_wall_clock_that_is_set_while_the_worker_is_away_makes_nothing_older(path, step):
    clock = ManualClock(NOW)
    queue = await opened(path, clock)
    await put(queue, 0)
    clock.move(60.0)
    await queue.close()
    clock.wall += step
    clock.move(40.0)
    assert age_in(path, clock) == 100.0
    queue = await opened(path, clock)
    [lease] = await queue.take(1)
    assert lease.age == queue.oldest_age() == age_in(path, clock) == 100.0
    await queue.close()


@pytest.mark.virtual_time
async def test_a_clock_that_was_corrected_before_the_machine_was_started_again_makes_nothing_older(path):
    """5 h behind at the first boot, then corrected; right from the second boot on."""
    clock = ManualClock(NOW - 5 * HOUR)
    queue = await opened(path, clock)
    await put(queue, 0)
    clock.move(60.0)
    clock.wall += 5 * HOUR
    await maintain(queue)
    queue.crash()
    boot(clock, wall=NOW + 60.0 + 90.0)
    assert age_in(path, clock) == 150.0
    queue = await opened(path, clock)
    assert queue.oldest_age() == 150.0
    await queue.close()


async def test_a_clock_that_is_behind_after_a_boot_makes_nothing_older_now_or_once_it_is_right(path):
    clock = ManualClock(NOW)
    queue = await opened(path, clock)
    await settle(queue, 1)
    await put(queue, 0)
    clock.move(60.0)
    await queue.close()
    boot(clock, wall=8.0)  # 1970
    queue = await opened(path, clock)
    assert queue.oldest_age() == age_in(path, clock) == 60.0
    clock.move(20.0)
    clock.wall = NOW + 200.0
    assert queue.oldest_age() == age_in(path, clock) == 80.0
    queue = await start_again(queue, path, clock)
    assert queue.oldest_age() == 80.0
    assert await put(queue, 1) == []
    await queue.close()


async def test_time_in_suspend_counts(path):
    clock = ManualClock(NOW)
    queue = await opened(path, clock)
    await settle(queue, 1)
    await put(queue, 0)
    clock.suspend(3 * HOUR)
    assert queue.oldest_age() == age_in(path, clock) == 3 * HOUR
    assert await put(queue, 1), "the dedupe window is over"
    queue = await start_again(queue, path, clock)
    assert queue.oldest_age() == 3 * HOUR
    await queue.close()


@pytest.mark.virtual_time
@pytest.mark.parametrize("again", [True, False], ids=["with a restart", "while it runs"])
async def test_a_clock_that_was_a_year_ahead_swallows_no_submission_once_the_window_is_over(path, again):
    clock = ManualClock(NOW + YEAR)
    queue = await opened(path, clock)
    await settle(queue, 0)
    clock.wall -= YEAR
    if again:
        queue = await start_again(queue, path, clock)
    clock.move(DEDUPE_WINDOW)
    assert await put(queue, 0) == []
    clock.move(1.0)
    assert await put(queue, 0)
    await queue.close()


@pytest.mark.virtual_time
@pytest.mark.parametrize("again", [True, False], ids=["with a restart", "while it runs"])
async def test_a_clock_that_jumps_a_year_ahead_deletes_no_settlement_and_ends_no_window(path, again):
    clock = ManualClock(NOW)
    queue = await opened(path, clock)
    await settle(queue, 0)
    clock.wall += YEAR
    if again:
        queue = await start_again(queue, path, clock)
    await maintain(queue)
    assert [row[0] for row in rows(path, "settled")] == [IDS[0]]
    assert await put(queue, 0) == []
    await queue.close()


@pytest.mark.virtual_time
async def test_the_time_in_which_nothing_could_be_accepted_counts_for_no_deadline(path):
    clock = LoopClock(asyncio.get_running_loop())
    queue = await opened(path, clock)
    queue.journal._execute("PRAGMA query_only = ON")
    putting = asyncio.ensure_future(put(queue, 0))
    await asyncio.sleep(5 * HOUR)
    queue.journal._execute("PRAGMA query_only = OFF")
    await putting
    assert queue.oldest_age() < 2 * RETRY_SECONDS
    await queue.close()


FUTURE = {"ready_at": NOW + HOUR, "missing_at": NOW + HOUR, "waiting_at": NOW + HOUR}


@pytest.mark.virtual_time
async def test_instants_in_the_future_are_set_to_now_once(path):
    """An earlier version wrote them by a wall clock that was ahead."""
    clock = ManualClock(NOW)
    queue = await opened(path, clock)
    await settle(queue, 2)
    await put(queue, 0, 1)
    await queue.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM clock")
        connection.execute("UPDATE pending SET accepted_at = ?", (NOW + HOUR,))
        connection.execute(
            "UPDATE pending SET progress = ? WHERE asset_id = ?",
            (b'{"polls":2,"ready_at":%r,"missing_at":%r,"waiting_at":%r}' % tuple(FUTURE.values()), IDS[0]),
        )
        connection.execute("UPDATE settled SET accepted_at = ?, completed_at = ?", (NOW + HOUR, NOW + HOUR + 25.0))
        connection.commit()
    assert age_in(path, clock) == 0.0
    queue = await opened(path, clock)
    assert queue.oldest_age() == 0.0
    queue.crash()
    assert {row[4] for row in rows(path, "pending")} == {NOW}
    assert [row[3:] for row in rows(path, "settled")] == [(NOW - 25.0, NOW)]
    clock.move(DEDUPE_WINDOW + 1.0)
    queue = await opened(path, clock)
    leases = {lease.submission.asset_id: lease for lease in await queue.take(9)}
    assert {lease.age for lease in leases.values()} == {DEDUPE_WINDOW + 1.0}
    assert leases[IDS[0]].progress == Progress(polls=2, **dict.fromkeys(FUTURE, NOW))
    assert await put(queue, 2), "its window is over"
    await queue.close()


@pytest.mark.virtual_time
async def test_a_mark_is_kept_with_progress_and_once_a_minute_without_it(path):
    clock = LoopClock(asyncio.get_running_loop())
    queue = await opened(path, clock)
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    kept = []
    for seconds in (PROGRESS_EVERY_SECONDS, MARK_EVERY_SECONDS / 2, MARK_EVERY_SECONDS / 2 + 1.0):
        await asyncio.sleep(seconds)
        [[_, steady, *_]] = rows(path, "clock")
        kept.append(clock.steady() - steady)
    await put(queue, 0)
    [lease] = await queue.take(1)
    await queue.defer(lease, HOUR, Progress(polls=1))
    await asyncio.sleep(2 * PROGRESS_EVERY_SECONDS)
    [[_, steady, *_]] = rows(path, "clock")
    kept.append(clock.steady() - steady)
    maintaining.cancel()
    await queue.close()
    assert kept == pytest.approx([1.0, 31.0, 2.0, 2.0], abs=1.1)


async def test_instants_of_records_and_dead_letters_that_can_not_be_right_end_no_wait_and_prolong_none(tmp_path):
    """A row was damaged: its event would never be due, and a dead letter would be kept for ever."""
    path, clock = tmp_path / FILE_NAME, ManualClock(wall=NOW)
    queue = open_local(path, clock, sinks=["hook"], independent=["hook"])
    await queue.begin(ends_by_itself=False)
    await settle(queue, 0, 1, 2)
    taken = await queue.outbox.take("hook", 9, now=NOW, until=NOW, without=(), wants=lambda _: True)
    assert len(taken.events) == 3
    await queue.outbox.failed("hook", 1, attempts=1, first_at=NOW, now=NOW, next_at=NOW + HOUR, error="why")
    await queue.outbox.failed("hook", 2, attempts=1, first_at=NOW + YEAR, now=NOW, next_at=float("inf"), error="why")
    await queue.outbox.dead_letter("hook", 3, attempts=1, first_at=NOW, now=NOW + YEAR, reason="why")
    await queue.close()
    queue = open_local(path, clock, sinks=["hook"], independent=["hook"])
    await queue.begin(ends_by_itself=False)
    taken = await queue.outbox.take("hook", 9, now=NOW, until=NOW, without=(), wants=lambda _: True)
    assert [(owed.event.position, owed.first_at, owed.next_at) for owed in taken.events] == [(2, NOW, NOW)]
    assert taken.next_at == NOW + HOUR
    clock.move(RETENTION + 1)
    await queue._prune_dead_letters()
    assert sum(queue.dead_letters_by_sink().values()) == 0
