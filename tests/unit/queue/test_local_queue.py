"""The local engine: the conformance suite, and what only it has."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from asset_worker.domain.progress import LastSeen, Progress
from asset_worker.domain.submissions import Options
from asset_worker.queue.commits import RETRY_SECONDS
from asset_worker.queue.local import engine
from asset_worker.queue.local.engine import (
    PROGRESS_EVERY_SECONDS,
    PRUNE_EVERY_SECONDS,
    LocalQueue,
    open_local_queue,
)
from asset_worker.queue.local.journal import APPLICATION_ID, FILE_NAME, Journal, JournalError
from asset_worker.queue.local.status_report import read_status
from asset_worker.runtime.clock import SystemClock
from asset_worker.runtime.threads import DaemonThread
from tests.doubles.clocks import ManualClock
from tests.doubles.local_queue import (
    directory_in_memory,
    end_all_tasks,
    event_for,
    maintain,
    open_local,
    put,
    rejection,
    settle,
)
from tests.doubles.threads import InlineThread, SuspendingThread
from tests.unit.queue.conformance import IDS, MAX_PENDING, DurableQueueMachine

GRACE = 10.0
"""Real seconds. Only a test that fails waits this long."""


class LocalQueueMachine(DurableQueueMachine):
    def __init__(self):
        self.directory = directory_in_memory()
        self.crashes = 0
        super().__init__()

    @property
    def path(self):
        return Path(self.directory.name) / f"{self.crashes}.sqlite3"

    async def open(self):
        queue = open_local(self.path, self.clock, thread=SuspendingThread(), max_pending=MAX_PENDING)
        await queue.begin(ends_by_itself=False)
        return queue

    async def run_maintenance(self):
        await maintain(self.queue)

    async def close(self):
        await self.queue.close()

    async def crash(self):
        """The files as they are now are what the next start finds; what still runs comes too late."""
        before = self.path
        self.crashes += 1
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{before}{suffix}", f"{self.path}{suffix}")
        await end_all_tasks()
        self.queue.crash()

    async def kept_positions(self):
        return self.queue.journal.intakes()

    def teardown(self):
        super().teardown()
        self.directory.cleanup()


TestConformance = pytest.mark.timeout(3600)(LocalQueueMachine.TestCase)


async def test_room_waits_until_something_is_settled(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock, max_pending=2)
    assert await queue.room() == 2
    await put(queue, 0, 1)
    waiting = asyncio.ensure_future(queue.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    [lease] = await queue.take(1)
    await queue.settle(lease, event_for(lease))
    assert await waiting == 1


async def test_a_rejection_goes_into_the_outbox_with_its_position(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock())
    await queue.put([], events=[rejection("k")], intake="file:/q", position=b"9")
    assert [stored.id for stored in await queue.outbox.read("stdout", 10)] == ["rejected.k"]
    assert Journal(tmp_path / "j").intakes() == {"file:/q": b"9"}


async def test_a_restart_keeps_options_progress_and_age(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    options = Options(metadata={"a": [1, None]}, deadline=5.0, not_found_grace=86400.0)
    await put(queue, 0, options=options)
    [lease] = await queue.take(1)
    progress = Progress(
        polls=3, phase_polls=1, last_seen=LastSeen("ready", {"hls": "processing"}), ready_at=clock.steady()
    )
    await queue.defer(lease, 0.0, progress)
    await queue.close()
    clock.move(40.0)
    [lease] = await open_local(tmp_path / "j", clock).take(1)
    assert lease.submission.options == options
    assert lease.progress == progress
    assert (lease.age, lease.ready_age) == (40.0, 40.0)


async def test_a_clock_set_back_makes_no_negative_age(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0)
    clock.wall -= 10_000.0
    [lease] = await queue.take(1)
    assert lease.age == 0.0
    await queue.close()
    [lease] = await open_local(tmp_path / "j", clock).take(1)
    assert lease.age == 0.0


async def test_a_clock_set_forward_makes_no_asset_older(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0)
    clock.wall += 1e6
    [lease] = await queue.take(1)
    assert lease.age == 0.0


async def test_the_age_of_what_was_seen_is_not_by_the_wall_clock(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0)
    [lease] = await queue.take(1)
    assert (lease.ready_age, lease.missing_age) == (None, None)
    seen = Progress(polls=1, ready_at=clock.steady(), missing_at=clock.steady())
    await queue.defer(lease, 0.0, seen)
    clock.wall += 1e6
    clock.mono += 3.0
    [lease] = await queue.take(1)
    assert (lease.ready_age, lease.missing_age) == (3.0, 3.0)
    await queue.defer(lease, 0.0, seen)
    clock.wall -= 2e6
    clock.mono += 4.0
    [lease] = await queue.take(1)
    assert (lease.ready_age, lease.missing_age) == (7.0, 7.0)


async def test_an_asset_that_is_back_is_missing_anew_the_next_time(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0)
    ages = []
    for missing in (True, True, False, True, True):
        [lease] = await queue.take(1)
        ages.append(lease.missing_age)
        missed_at = (lease.progress.missing_at or clock.steady()) if missing else None
        await queue.defer(lease, 0.0, Progress(missing_at=missed_at))
        clock.move(10.0)
    assert ages == [None, 10.0, 20.0, None, 10.0]


@pytest.mark.parametrize("head_start", range(6))
async def test_the_same_asset_put_twice_at_once_is_accepted_once(tmp_path, head_start):
    """However far the first commit has come when the second one begins."""
    queue = open_local(tmp_path / "j", ManualClock(), thread=SuspendingThread())
    first = asyncio.ensure_future(put(queue, 0))
    for _ in range(head_start):
        await asyncio.sleep(0)
    second = asyncio.ensure_future(put(queue, 0, 1))
    assert [len(accepted) for accepted in await asyncio.gather(first, second)] == [1, 1]
    assert len(await queue.take(9)) == 2


async def test_the_same_asset_put_twice_at_once_is_accepted_once_by_a_thread_too(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock(), thread=DaemonThread("journal"))
    assert [len(accepted) for accepted in await asyncio.gather(put(queue, 0), put(queue, 0))] == [1, 0]
    await queue.close()


async def test_the_outbox_keeps_an_event_until_every_sink_has_it(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock(), sinks=("a", "b"))
    await put(queue, 0, 1)
    for lease in await queue.take(2):
        await queue.settle(lease, event_for(lease))
    first, second = await queue.outbox.read("a", 10)
    await queue.outbox.advance("a", second.position, b"mark")
    assert await queue.outbox.read("a", 10) == []
    assert queue.outbox.depth() == 2
    await queue.outbox.advance("b", first.position, None)
    assert [stored.id for stored in await queue.outbox.read("b", 10)] == [second.id]
    assert queue.outbox.depth() == 1
    await queue.close()
    again = open_local(tmp_path / "j", ManualClock(), sinks=("a", "b"))
    assert await again.outbox.checkpoint("a") == b"mark"
    assert [stored.id for stored in await again.outbox.read("b", 10)] == [second.id]
    assert Journal(tmp_path / "j").events_after(0, 10) == [(second.position, second.id, second.body)]


async def test_a_position_is_never_given_out_twice(tmp_path):
    """A sink that has the event at position 1 must not take another one for it."""
    for expected in (1, 2, 3):
        queue = open_local(tmp_path / "j", ManualClock())
        await put(queue, events=[rejection("k")])
        [stored] = await queue.outbox.read("stdout", 10)
        assert stored.position == expected
        await queue.outbox.advance("stdout", stored.position, None)
        await queue.close()


@pytest.mark.virtual_time
async def test_old_settlements_are_pruned_and_young_ones_are_not(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / FILE_NAME, clock)
    await settle(queue, 0)
    clock.move(8 * 86400.0)
    await settle(queue, 1)
    await maintain(queue)
    assert settled_ids(tmp_path, clock) == [IDS[1]]
    await queue.close()


@pytest.mark.virtual_time
async def test_pruning_keeps_what_identifies_a_repeat_however_long_the_window(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock, window=30 * 86400.0)
    await settle(queue, 0)
    clock.move(8 * 86400.0)
    await maintain(queue)
    assert await put(queue, 0) == []


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("window", "later"),
    [pytest.param(1.0, 6 * 86400.0, id="a week"), pytest.param(86400.0 * 2, 86400.0 * 13, id="seven windows")],
)
async def test_pruning_keeps_the_count_of_completions(tmp_path, window, later):
    """Else the next completion would have the ID of the last, and a consumer would drop it as a repeat."""
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock, window=window)
    await settle(queue, 0)
    clock.move(later)
    await maintain(queue)
    [lease] = await settle(queue, 0)
    assert lease.completion == 2
    assert [stored.id for stored in await queue.outbox.read("stdout", 9)] == ["asset-0.1", "asset-0.2"]


@pytest.mark.virtual_time
async def test_old_settlements_are_pruned_at_the_start_and_every_minute_in_as_many_steps_as_it_takes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("asset_worker.queue.local.engine.PRUNE_ROWS", 2)
    clock = ManualClock()
    queue = open_local(tmp_path / FILE_NAME, clock)
    await settle(queue, 0, 1, 2, 3, 4)
    clock.move(8 * 86400.0)
    await settle(queue, 5)
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(0.5)
    assert settled_ids(tmp_path, clock) == [IDS[5]]
    clock.move(8 * 86400.0)
    await asyncio.sleep(PRUNE_EVERY_SECONDS + PROGRESS_EVERY_SECONDS)
    assert settled_ids(tmp_path, clock) == []
    maintaining.cancel()


def settled_ids(directory, clock):
    return [line.asset_id for line in read_status(directory, clock=clock, limit=10).completed]


@pytest.mark.virtual_time
async def test_progress_of_a_settled_wait_is_not_written_onto_the_next_wait_for_the_same_asset(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock, window=0.0)
    await put(queue, 0)
    for end in (
        lambda lease: queue.defer(lease, 0.0, Progress(polls=3)),
        lambda lease: queue.settle(lease, event_for(lease)),
    ):
        [lease] = await queue.take(1)
        await end(lease)
    clock.move(1.0)
    assert await put(queue, 0)
    await maintain(queue)
    await queue.close()
    [lease] = await open_local(tmp_path / "j", clock).take(1)
    assert (lease.completion, lease.progress) == (2, Progress())


@pytest.mark.virtual_time
async def test_progress_that_came_with_events_is_not_overwritten_by_an_older_one(tmp_path):
    """The older one was still to be saved: with it, the step would be reported again."""
    queue = open_local(tmp_path / "j", ManualClock())
    await put(queue, 0)
    [lease] = await queue.take(1)
    await queue.defer(lease, 0.0, Progress(polls=1))
    [lease] = await queue.take(1)
    reported = Progress(polls=2, announced=("playable",))
    await queue.defer(lease, 0.0, reported, [rejection("k")])
    await queue.close()
    [lease] = await open_local(tmp_path / "j", ManualClock()).take(1)
    assert lease.progress == reported


async def test_there_is_room_for_what_is_pending_already_and_for_as_many_new_ones_as_the_limit_allows(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock(), max_pending=3)
    assert queue.has_room_for(IDS[:3])
    assert not queue.has_room_for(IDS[:4])
    await put(queue, 0)
    accepting = asyncio.ensure_future(put(queue, 1))
    await asyncio.sleep(0)
    for _ in range(2):  # while it is being accepted, and afterwards
        assert queue.has_room_for(IDS[:3])
        assert not queue.has_room_for(IDS[2:4])
        await accepting
    await put(queue, 2)
    assert not queue.has_room_for(IDS[3:4])
    accepting = asyncio.ensure_future(put(queue, 3))  # past the limit, as what can't be read again
    await asyncio.sleep(0)
    assert queue.has_room_for([])
    assert queue.has_room_for(IDS[:4])
    await accepting


async def test_progress_outlives_a_crash_once_it_is_a_second_old(tmp_path):
    clock = ManualClock()
    queue = open_local(tmp_path / "j", clock)
    await put(queue, 0, 1)
    maintaining = asyncio.ensure_future(queue.run_maintenance())
    await asyncio.sleep(0.5)
    for polls, lease in enumerate(await queue.take(2), start=3):
        await queue.defer(lease, 0.0, Progress(polls=polls))
    await asyncio.sleep(PROGRESS_EVERY_SECONDS)
    maintaining.cancel()
    queue.crash()
    again = open_local(tmp_path / "j", clock)
    assert [lease.progress for lease in await again.take(2)] == [Progress(polls=3), Progress(polls=4)]


@pytest.mark.virtual_time
async def test_a_full_disk_is_waited_out_and_loses_nothing(tmp_path):
    queue = open_local(tmp_path / "j", ManualClock())
    limit_pages(queue, 1)
    putting = asyncio.ensure_future(put(queue, *range(6), options=Options(metadata={"x": "y" * 60_000})))
    await asyncio.sleep(5.5 * RETRY_SECONDS)
    assert not putting.done()
    assert queue.failure
    limit_pages(queue, 100_000)
    assert len(await putting) == 6
    assert not queue.failure


def limit_pages(queue, count):
    """Make the disk seem full once the journal has so many pages."""
    queue.journal._execute(f"PRAGMA max_page_count = {count}")


async def test_many_writers_share_a_commit(tmp_path):
    thread = NotingThread()
    queue = open_local(tmp_path / "j", ManualClock(), thread=thread)
    await asyncio.gather(*(put(queue, number) for number in range(6)))
    assert thread.calls < 6


class NotingThread(InlineThread):
    calls = 0

    async def run(self, call, /, *args, **kwargs):
        self.calls += 1
        return call(*args, **kwargs)


def test_a_corrupt_journal_is_a_clear_error_and_left_as_it_is(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"not a database, however long it may be" * 100)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="left as it is"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(tmp_path):
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalError, match="newer asset-worker"):
        Journal(tmp_path / "j")


def test_another_programs_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "j") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(JournalError, match="another program"):
        Journal(tmp_path / "j")


def test_the_journal_says_whose_it_is(tmp_path):
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


async def test_the_event_loop_lives_while_what_is_pending_is_restored(tmp_path, monkeypatch):
    """That takes many seconds for a million: meanwhile signals are handled, and systemd is asked for more time."""
    loop, lives = asyncio.get_running_loop(), threading.Event()

    class SlowQueue(LocalQueue):
        def __init__(self, *args, **options):
            loop.call_soon_threadsafe(lives.set)
            assert lives.wait(GRACE)
            super().__init__(*args, **options)

    monkeypatch.setattr(engine, "LocalQueue", SlowQueue)
    async with open_local_queue(
        tmp_path,
        SystemClock(),
        sinks=["stdout"],
        dedupe_window=1.0,
        dead_letter_retention=1.0,
        max_pending=1,
        first_looks=lambda count: [0.0] * count,
    ) as queue:
        assert queue.pending_count() == 0
